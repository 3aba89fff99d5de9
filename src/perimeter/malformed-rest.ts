/**
 * Reports to the exchange that reads a request's body that the rest of it cannot be read: node:http's parser reports that on the socket.
 * Invariant: the report comes once, also if the exchange asks after the parser has failed.
 */
import type { IncomingMessage } from "node:http";
import type { GatewayError } from "../errors.ts";

interface Watched extends IncomingMessage {
  malformedRest?: GatewayError;
  onMalformedRest?: (error: GatewayError) => void;
}

/** Called by the listener. @param error the refusal of the request. */
export function reportMalformedRest(req: IncomingMessage, error: GatewayError): void {
  const watched = req as Watched;
  watched.malformedRest = error;
  watched.onMalformedRest?.(error);
}

/** Called by the reader of the body. There is one for each request. */
export function onMalformedRest(req: IncomingMessage, listener: (error: GatewayError) => void): void {
  const watched = req as Watched;
  watched.onMalformedRest = listener;
  if (watched.malformedRest !== undefined) listener(watched.malformedRest);
}
