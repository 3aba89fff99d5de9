/**
 * The upstream's own no to a WebSocket: its status, headers and body go to the client, whose connection then ends.
 * Invariant: as fast as the client reads, and bounded in bytes and time; one that is cut off is cut off.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../../../errors.ts";
import { cutAnswer } from "../../client-connection.ts";
import { createResponseHeaders, type ResponseParts } from "../answer-headers.ts";
import type { Upgrade } from "./handshake.ts";

/** A refusal explains itself, it is no download. */
const REFUSAL_BYTES_LIMIT = 1024 * 1024;

/** Resolves when the client has it all, or has left, or was cut off. @throws GatewayError for an answer that cannot be sent. */
export function relayRefusal(
  { exchange, route }: Upgrade,
  answer: IncomingMessage,
  parts: ResponseParts,
): Promise<void> {
  const { req, res } = exchange;
  const headers = createResponseHeaders(exchange, route, answer.headers, parts);
  try {
    res.writeHead(answer.statusCode as number, headers);
  } catch (cause) {
    answer.destroy();
    throw new GatewayError("UPSTREAM_PROTOCOL_ERROR", { cause });
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => cut("UPSTREAM_TIMEOUT"), route.prepared.service.timeoutMs);
    function cut(code: "UPSTREAM_TIMEOUT" | "UPSTREAM_PROTOCOL_ERROR"): void {
      if (res.writableEnded || exchange.outcome !== "") return;
      exchange.outcome = `failed:${code}`;
      answer.destroy();
      cutAnswer(req, true);
    }
    exchange.onClose = () => {
      clearTimeout(timer);
      exchange.onClose = undefined;
      answer.destroy();
      resolve();
    };
    answer.on("data", (chunk: Buffer) => {
      exchange.bytesOut += chunk.length;
      if (exchange.bytesOut > REFUSAL_BYTES_LIMIT) return cut("UPSTREAM_PROTOCOL_ERROR");
      if (res.write(chunk)) return;
      answer.pause();
      // Of the socket: node:http's own listener, which would tell `res`, went away with the upgrade.
      req.socket.once("drain", () => answer.resume());
    });
    answer.on("error", () => cut("UPSTREAM_PROTOCOL_ERROR"));
    answer.on("close", () => {
      if (!answer.complete) cut("UPSTREAM_PROTOCOL_ERROR");
    });
    answer.on("end", () => res.end());
  });
}
