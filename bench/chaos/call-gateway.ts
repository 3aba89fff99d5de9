/** One request to the gateway's control plane, on a connection of its own. */
import { request } from "node:http";

export interface GatewayResponse {
  readonly status: number | undefined;
  readonly text: string;
}

/** @param json sent as the body. @throws without a response. */
export function callGateway(port: number, method: string, path: string, json?: unknown): Promise<GatewayResponse> {
  return new Promise((resolve, reject) => {
    const headers = json === undefined ? {} : { "content-type": "application/json" };
    const req = request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      res.on("error", reject);
      res.on("end", () => resolve({ status: res.statusCode, text }));
    });
    req.on("error", reject);
    req.end(json === undefined ? undefined : JSON.stringify(json));
  });
}
