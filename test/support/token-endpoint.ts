/** A token endpoint for tests: it counts its requests, and responds as the test sets it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { startUpstream } from "./upstream.ts";

export interface TokenRequest {
  readonly form: URLSearchParams;
  readonly authorization: string | undefined;
}

export type TokenAnswer = (request: TokenRequest, count: number, res: ServerResponse, req: IncomingMessage) => unknown;

/** @param answer returns the JSON body of a successful response, or undefined if it has responded itself. */
export async function startTokenEndpoint(
  answer: TokenAnswer = (_, count) => ({
    access_token: `token-${count}-of-the-endpoint`,
    token_type: "Bearer",
    expires_in: 3_600,
  }),
) {
  const requests: TokenRequest[] = [];
  const state = { answer };
  const { url, port } = await startUpstream((req, res) => {
    let text = "";
    req.setEncoding("utf8");
    req.on("data", (chunk: string) => {
      text += chunk;
    });
    req.on("end", async () => {
      const request = { form: new URLSearchParams(text), authorization: req.headers.authorization };
      const count = requests.push(request);
      const body = await state.answer(request, count, res, req);
      if (body === undefined) return;
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify(body));
    });
  });
  return {
    url: `${url}/token`,
    port,
    requests,
    respond(next: TokenAnswer) {
      state.answer = next;
    },
  };
}

/** Responds with an error of RFC 6749 section 5.2. */
export function refuseToken(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) {
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
  res.statusCode = status;
  res.end(typeof body === "string" ? body : JSON.stringify(body));
}
