/**
 * The life of a request, top to bottom: read this function first.
 * Invariant: nothing reaches an upstream that a step above refused, the credential goes on last, and every exchange
 * ends in exactly one record, whatever was thrown.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Callers } from "../callers/callers.ts";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import { readPresentedKeys } from "../callers/presented-keys.ts";
import { GatewayError } from "../errors.ts";
import type { KeyLimits } from "../limits/limiters.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { Connections } from "../perimeter/connections.ts";
import type { Cors } from "../perimeter/cors.ts";
import { findMalformed } from "../perimeter/framing.ts";
import type { Instance } from "../perimeter/instance.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Registry } from "../services/registry.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { decideAuthorization, decidePermission } from "./authorize.ts";
import { Exchange } from "./exchange.ts";
import { decideBreaker } from "./forward/breaker-gate.ts";
import { decideConnection } from "./forward/connection-limit.ts";
import { Forwarding } from "./forward/forward.ts";
import type { Tunnels } from "./forward/tunnel.ts";
import { createUpstreamRequest } from "./forward/upstream-request.ts";
import { decideRoute, identify } from "./identify.ts";
import { decideCredential, injectCredential } from "./inject-credential/inject-credential.ts";
import { answerPreflight } from "./preflight.ts";
import type { PreparedService } from "./prepared-service.ts";
import { quotaExchange } from "./quota-exchange.ts";
import { decideKeyLimit, decideRateLimit } from "./rate-limit.ts";
import { record } from "./record.ts";
import { refuse } from "./refuse.ts";
import { decideServiceShed, decideShed, decideWebSocketShed } from "./shed.ts";

export interface PipelineParts {
  readonly monitor: PressureMonitor;
  /** Places for all proxied requests: MAX_IN_FLIGHT. */
  readonly inFlight: Slots;
  /** Places for all WebSockets: MAX_WEBSOCKETS. */
  readonly webSockets: Slots;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
  readonly instance: Instance;
  readonly clients: ClientView;
  readonly callers: Callers;
  readonly keyUsage: Pick<KeyUsage, "note">;
  readonly keyRefusals: Pick<KeyRefusals, "noteError">;
  readonly keyLimits: KeyLimits;
  readonly cors: Cors;
  /** Asked only while the plane has no key. */
  readonly guardOpenPlane: OpenPlaneGuard;
  readonly registry: Registry;
  readonly tunnels: Tunnels;
  readonly findPrepared: (key: string) => PreparedService | undefined;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * @param connections of the listener that the request came in by.
 * @param head of a WebSocket handshake: what the client sent behind it.
 */
export type Pipeline = (
  req: IncomingMessage,
  res: ServerResponse,
  connections: Connections,
  head?: Buffer,
) => Promise<void>;

export function createPipeline(parts: PipelineParts): Pipeline {
  const { instance, clients, callers, cors, registry, inFlight, tunnels } = parts;

  return async function serve(req, res, connections, head) {
    const exchange = new Exchange(req, res, instance.requestId(req), clients.addressOf(req));
    try {
      // Whoever sends one malformed message is not asked for another on the same connection.
      exchange.closesConnection = true;
      admit(findMalformed(req));
      exchange.closesConnection =
        instance.isDraining || req.headers.upgrade !== undefined || connections.isSurplus(req.socket);
      admit(instance.findLoop(req.headers));
      if (req.headers.origin !== undefined && head === undefined) cors.remember(req.headers);
      if (!callers.isProtected("proxy")) admit(parts.guardOpenPlane(req.headers));

      const identified = identify(req.url as string, parts.findPrepared);
      const preflight = admit(cors.decidePreflight(req, identified.prepared?.methods));
      if (preflight !== undefined) return answerPreflight(exchange, preflight);

      admit(decideShed(exchange, parts, connections));
      exchange.enterGateway(inFlight);

      const presented = readPresentedKeys(req.rawHeaders, identified.query);
      const presentation = { plane: "proxy", presented, address: exchange.clientAddress } as const;
      const caller = admit(callers.authenticate(presentation, identified.prepared?.service.access));
      exchange.callerId = caller.id;
      exchange.issued = caller.issued;

      const route = admit(decideRoute(identified, registry));
      const { prepared } = route;
      exchange.serviceKey = prepared.service.key;
      admit(decidePermission(exchange, route, caller));
      if (caller.issued !== undefined) parts.keyUsage.note(caller.id, Date.now());
      admit(decideAuthorization(exchange, prepared));
      admit(decideCredential(prepared.credential, prepared.service.key));
      admit(decideServiceShed(prepared.slots, prepared.service.key, parts.retryAfterS));
      if (head !== undefined) admit(decideWebSocketShed(parts.webSockets, prepared, parts.retryAfterS));
      admit(decideBreaker(prepared));
      if (head === undefined) admit(decideConnection(prepared, parts.retryAfterS));
      exchange.enterService(prepared.slots);
      if (head !== undefined) exchange.enterWebSockets(parts.webSockets, prepared.webSocketSlots);
      exchange.times = prepared.times;
      const keyLimit = parts.keyLimits.of(caller.issued);
      if (keyLimit !== undefined) {
        const state = await keyLimit.spend({ callerId: caller.id, address: exchange.clientAddress });
        admit(decideKeyLimit(state, Date.now()));
      }
      if (prepared.limiter !== undefined) {
        exchange.limit = await prepared.limiter.spend({ callerId: caller.id, address: exchange.clientAddress });
        admit(decideRateLimit(exchange.limit, prepared.service.key, Date.now()));
      }

      const request = createUpstreamRequest(exchange, route, parts);
      if (injectCredential(request, prepared.credential)) exchange.credentialRefusals = prepared.credentialRefusals;
      exchange.quota = prepared.quota?.passOf(quotaExchange(exchange, route, request));
      if (prepared.quota?.isHolding) {
        admit(await exchange.quota?.enter());
        while (!(await exchange.stepIn(prepared.quota.maxWaitMsOf(req.headers)))) {
          admit(decideShed(exchange, parts, connections));
          admit(decideServiceShed(prepared.slots, prepared.service.key, parts.retryAfterS));
        }
      }
      if (head === undefined) await new Forwarding(exchange, route, request, parts).run();
      else await tunnels.run({ exchange, route, request, head }, parts);
      exchange.outcome ||= exchange.hasClientLeft ? "client-left" : "relayed";
    } catch (thrown) {
      refuse(exchange, GatewayError.from(thrown), parts);
    } finally {
      exchange.quota?.end();
      exchange.leave();
      record(exchange, parts);
    }
  };
}

/** The one place where a verdict becomes a refusal. */
function admit<T>(verdict: T | GatewayError): T {
  if (verdict instanceof GatewayError) throw verdict;
  return verdict;
}
