/** What the caller's key and the service permit: paths and addresses; methods, upgrades and body size. */
import type { Caller } from "../callers/callers.ts";
import type { PeerSocket } from "../callers/client-certificate.ts";
import { decideProxyPermission } from "../callers/decide-permission.ts";
import { GatewayError } from "../errors.ts";
import { isWebSocketUpgrade } from "../perimeter/framing.ts";
import { isGrpc } from "../perimeter/grpc-refusal.ts";
import { decidePayload } from "./aws/payload.ts";
import { decideForm } from "./credential/form-body.ts";
import type { Exchange } from "./exchange.ts";
import type { Route } from "./identify.ts";
import type { PreparedService } from "./prepared-service.ts";

/**
 * What the caller's key permits, matched on the path that the upstream will see.
 * @param rawHeaders a flat list: some of them ask for another method or path.
 */
export function decidePermission(
  exchange: Exchange,
  { prepared, path, query }: Route,
  caller: Caller,
  rawHeaders: readonly string[] = exchange.req.rawHeaders,
): GatewayError | undefined {
  // Without its key an anonymous caller would be admitted, so the key restricts nothing.
  if (prepared.service.access !== "key") return undefined;
  const { req, clientAddress: address } = exchange;
  const { socket } = req;
  const { service, methodParameters } = prepared;
  return decideProxyPermission(caller, {
    serviceKey: service.key,
    // Both sides of a WebSocket send, so reading is not enough.
    method: isWebSocketUpgrade(req) ? "WEBSOCKET" : exchange.method,
    path,
    address,
    socket: socket as PeerSocket,
    rawHeaders,
    query,
    methodParameters,
    isFromProxy: socket.remoteAddress?.endsWith(address) === false,
  });
}

/** @param isUpgrade the connection can carry a WebSocket: no earlier request on it has yet to get its response. */
export function decideAuthorization(
  exchange: Exchange,
  prepared: PreparedService,
  isUpgrade: boolean,
): GatewayError | undefined {
  const { methods, service } = prepared;
  if (methods !== undefined && !methods.has(exchange.method)) {
    const allowed = [...methods].join(", ");
    return new GatewayError("METHOD_NOT_ALLOWED", {
      message: `${service.key} accepts ${allowed}.`,
      headers: ["Allow", allowed],
    });
  }
  // Browsers send it with the script of a service worker only (Service Workers, section "Update").
  if (service.webContent === "isolate" && exchange.req.headers["service-worker"] !== undefined) {
    return new GatewayError("ORIGIN_NOT_ALLOWED", {
      message: "A browser asks for a service worker, which would act on pages of the gateway's whole origin.",
      hint: `Set \`webContent\` to \`pass\` for ${service.key} if its pages may do this.`,
    });
  }
  const mayUpgrade = exchange.req.headers.upgrade !== undefined;
  if (mayUpgrade && !(service.ws && isUpgrade) && isWebSocketUpgrade(exchange.req)) {
    const message = service.ws
      ? "A WebSocket handshake must not be sent before the response to the request before it."
      : `${service.key} does not accept WebSocket connections.`;
    return new GatewayError(service.ws ? "INVALID_REQUEST" : "UPGRADE_NOT_ALLOWED", { message });
  }
  if (!service.http2 && exchange.hasBody && isGrpc(exchange.req.headers["content-type"])) {
    return new GatewayError("UNSUPPORTED_MEDIA_TYPE", {
      message: `gRPC needs HTTP/2, and ${service.key} is reached by HTTP/1.1.`,
      hint: `Set \`http2\` to true for ${service.key}. gRPC-Web needs no HTTP/2.`,
    });
  }
  const { placePlan, payloads } = prepared;
  const form = placePlan && decideForm(placePlan, exchange, service.key);
  if (form !== undefined) return form;
  const payload = payloads && decidePayload(payloads, exchange);
  if (payload !== undefined) return payload;
  if (service.maxBodyBytes > 0 && (exchange.announcedBytes ?? 0) > service.maxBodyBytes) {
    return new GatewayError("PAYLOAD_TOO_LARGE", {
      message: `${service.key} accepts bodies of at most ${service.maxBodyBytes} bytes.`,
    });
  }
  return undefined;
}
