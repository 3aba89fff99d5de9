/**
 * The life of a request, from top to bottom: read this function first.
 * Invariant: a request that the admission refused reaches no upstream, the credential is injected last, and every exchange ends in
 * exactly one record, even if something throws.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "../callers/callers.ts";
import { GatewayError } from "../errors.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { Logger } from "../telemetry/logger.ts";
import { type AdmissionParts, type Arrival, verifyTokens, type Walk, walkAdmission, walkLimits } from "./admission.ts";
import { decidePermission } from "./authorize.ts";
import { forwardThroughCache } from "./cache/forward-through-cache.ts";
import { Exchange } from "./exchange.ts";
import { ExchangeTrace } from "./exchange-trace.ts";
import { type ForwardParts, forward } from "./forward/forward.ts";
import type { Tunnels } from "./forward/tunnel.ts";
import { createUpstreamRequest } from "./forward/upstream-request.ts";
import { forwardOnce } from "./idempotency/forward-once.ts";
import { type RecordParts, record } from "./record.ts";
import { type RefuseParts, refuse, respondToPreflight } from "./refuse.ts";
import { type HookedRequest, runRequestHooks } from "./request-hooks.ts";
import { type SignatureParts, SignedDelivery } from "./signature/signed-delivery.ts";
import { decideModelByTarget, prepareRequest } from "./spend/prepare-request.ts";
import { walkBudget } from "./spend/walk-budget.ts";

export interface PipelineParts extends AdmissionParts, ForwardParts, RefuseParts, RecordParts, SignatureParts {
  readonly clients: ClientView;
  readonly tunnels: Tunnels;
}

/** @param head of a WebSocket handshake: the bytes that the client sent after it. */
export type Pipeline = (req: IncomingMessage, res: ServerResponse, arrival: Arrival, head?: Buffer) => Promise<void>;

export function createPipeline(parts: PipelineParts): Pipeline {
  const { hooks } = parts;
  return async function serve(req, res, arrival, head) {
    const { connections } = arrival;
    const exchange = new Exchange(req, res, parts.instance.requestId(req), parts.clients.addressOf(req));
    const walk = parts.logger.isVerbose ? traceWalk(exchange, parts.logger) : COMMIT;
    let delivery: SignedDelivery | undefined;
    try {
      const verifying = verifyTokens(exchange, arrival, parts);
      if (verifying !== undefined) await verifying;
      const admission = walkAdmission(exchange, arrival, walk, parts);
      if (admission.kind === "preflight") return respondToPreflight(exchange, admission.headers);
      let { route } = admission;
      const { signature, limiter, service, cache, idempotency } = route.prepared;
      if (service.budget !== undefined || exchange.issued !== undefined) {
        exchange.spend = parts.spending.of(exchange, exchange.issued?.id, service);
      }
      const { spend } = exchange;
      if (spend !== undefined)
        await walkBudget(spend, exchange, { route, isUpgrade: head !== undefined }, { walk, parts });
      const isSignedFirst = signature?.isLimitedFirst === false;
      if (signature !== undefined) delivery = new SignedDelivery(exchange, signature, service.timeoutMs, parts);
      if (delivery !== undefined && isSignedFirst) walk.admit("signature", await delivery.decide());
      if (limiter !== undefined || exchange.issued !== undefined) {
        await walkLimits(exchange, route.prepared, walk, parts);
      }
      if (delivery !== undefined && !isSignedFirst) walk.admit("signature", await delivery.decide());
      if (spend !== undefined) walk.admit("prepare", await prepareRequest(spend, exchange, route, parts));
      let request = createUpstreamRequest(exchange, route, parts);
      if (hooks?.hasOnRequest) {
        const passed = await runRequestHooks(hooks, exchange, { route, request }, parts.callers);
        ({ route, request } = walk.admit("hooks", decideChanged(exchange, admission.caller, passed)));
      }
      if (head === undefined) {
        const send = cache === undefined ? forward : forwardThroughCache;
        await (idempotency === undefined
          ? send(exchange, route, request, parts)
          : forwardOnce(exchange, { route, request }, parts, send));
      } else await parts.tunnels.run({ exchange, route, request, head }, parts);
      exchange.outcome ||= exchange.hasClientLeft ? "client-left" : "relayed";
    } catch (thrown) {
      refuse(exchange, GatewayError.from(thrown), parts);
    } finally {
      exchange.quota?.end();
      delivery?.end();
      exchange.spend?.end();
      if ((exchange.hasClientLeft || head !== undefined) && connections.wasCut(req.socket)) exchange.noteShutdown();
      exchange.end();
      record(exchange, parts);
    }
  };
}

/** A hook that changes a request gives its caller neither more permissions nor other models. */
function decideChanged(
  exchange: Exchange,
  caller: Caller,
  passed: HookedRequest | GatewayError,
): HookedRequest | GatewayError {
  if (passed instanceof GatewayError || passed.judged === undefined || exchange.issued === undefined) return passed;
  const refusal =
    decidePermission(exchange, passed.route, caller, passed.judged) ??
    (exchange.spend && decideModelByTarget(exchange.spend, exchange, passed.route));
  return refusal ?? passed;
}

/** The walk of a real request: a refusal is thrown, so that no later step runs. */
const COMMIT: Walk<never> = {
  commits: true,
  admit(_step, verdict) {
    if (verdict instanceof GatewayError) throw verdict;
    return verdict;
  },
};

/** The same, and each verdict is logged. */
function traceWalk(exchange: Exchange, logger: Logger): Walk<never> {
  const trace = new ExchangeTrace(logger, exchange.id, exchange.req.rawHeaders);
  exchange.trace = trace;
  return {
    commits: true,
    admit(step, verdict) {
      trace.step(step, verdict);
      return COMMIT.admit(step, verdict);
    },
  };
}
