/**
 * Relays an upstream's interim responses (RFC 9110 section 15.2): 103 with early links, 102 and those that are defined later.
 * Invariant: they follow the header rules of a final response, do not extend the deadline, and are dropped where a client cannot take
 * them: HTTP/1.0 has none, and a client that does not read must not fill the gateway's memory.
 */
import { STATUS_CODES } from "node:http";
import { StreamResponse } from "../../perimeter/http2/stream-response.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { type ResponseParts, relayedHeaders } from "./answer-headers.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";

/** A 100 answers an expectation, which the gateway has answered itself. */
const CONTINUE = 100;

export function relayInterim(
  exchange: Exchange,
  route: Route,
  { status, headers: received }: { readonly status: number; readonly headers: ResponseHeaders },
  parts: ResponseParts,
): void {
  const { req, res, destination } = exchange;
  if (destination?.relayInterim !== undefined) return destination.relayInterim(status, received);
  const stream = res instanceof StreamResponse ? res : undefined;
  const { socket } = res;
  const { interim, webContent } = route.prepared.service;
  if (status === CONTINUE || interim === "drop" || req.httpVersionMinor === 0) return;
  // A browser would load its links before it knows the policy of the response, and show the URL as the referrer.
  if (exchange.isKeyInUrl && webContent === "isolate") return;
  if ((stream ?? socket)?.writableNeedDrain !== false) return;
  route.prepared.scrub?.scrubInterim(received);
  const headers = relayedHeaders(exchange, route, received, parts);
  if (stream !== undefined) return stream.writeInterim(status, headers);
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  for (let i = 0; i < headers.length; i += 2) {
    // RFC 9110 section 8.6.
    if (headers[i] !== "content-length") head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  }
  socket?.write(`${head}\r\n`, "latin1");
}
