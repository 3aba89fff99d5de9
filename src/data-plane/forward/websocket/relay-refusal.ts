/**
 * Relays an upstream's refusal of a WebSocket: its status, headers and body go to the client, then the connection ends.
 * Invariant: the client sets the pace; bytes and time are bounded; a refusal that the upstream cut off is cut off for the client.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../../../errors.ts";
import { cutResponse } from "../../client-connection.ts";
import { createResponseHeaders, type ResponseParts } from "../answer-headers.ts";
import type { Upgrade } from "./handshake.ts";

/** A refusal is an explanation, not a download. */
const REFUSAL_BYTES_LIMIT = 1024 * 1024;

/** Resolves when the client has all of it, has left or was cut off. @throws GatewayError for a response that cannot be sent. */
export function relayRefusal(
  { exchange, route }: Upgrade,
  response: IncomingMessage,
  parts: ResponseParts,
): Promise<void> {
  const { req, res } = exchange;
  const headers = createResponseHeaders(exchange, route, response.headers, parts);
  try {
    res.writeHead(response.statusCode as number, headers);
  } catch (cause) {
    response.destroy();
    throw new GatewayError("UPSTREAM_PROTOCOL_ERROR", { cause });
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => cut("UPSTREAM_TIMEOUT"), route.prepared.service.timeoutMs);
    function cut(code: "UPSTREAM_TIMEOUT" | "UPSTREAM_PROTOCOL_ERROR"): void {
      if (res.writableEnded || exchange.outcome !== "") return;
      exchange.outcome = `failed:${code}`;
      response.destroy();
      cutResponse(req, true);
    }
    exchange.onClose = () => {
      clearTimeout(timer);
      exchange.onClose = undefined;
      response.destroy();
      resolve();
    };
    response.on("data", (chunk: Buffer) => {
      exchange.bytesOut += chunk.length;
      if (exchange.bytesOut > REFUSAL_BYTES_LIMIT) return cut("UPSTREAM_PROTOCOL_ERROR");
      if (res.write(chunk)) return;
      response.pause();
      // On the socket: node:http removed its own `drain` listener with the upgrade, so `res` emits none.
      req.socket.once("drain", () => response.resume());
    });
    response.on("error", () => cut("UPSTREAM_PROTOCOL_ERROR"));
    response.on("close", () => {
      if (!response.complete) cut("UPSTREAM_PROTOCOL_ERROR");
    });
    response.on("end", () => res.end());
  });
}
