/**
 * A request with an Idempotency-Key: it is sent once, and requests that repeat it get the response that is kept.
 * Invariant: nothing is sent before the claim is durable, and never while another request holds the claim.
 */
import { GatewayError } from "../../errors.ts";
import { type Claimed, ClaimsFull } from "../../stores/claims.ts";
import { admitToUpstream } from "../admit-to-upstream.ts";
import type { Exchange } from "../exchange.ts";
import type { Client } from "../forward/client-sink.ts";
import type { ForwardParts, forward } from "../forward/forward.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { Route } from "../identify.ts";
import { type BodyLimits, decideBodySize, readSignedBody } from "../signature/signed-body.ts";
import type { SignatureParts } from "../signature/signed-delivery.ts";
import { HeldClaim } from "./held-claim.ts";
import { asksForIdempotency, readIdempotencyKey } from "./idempotency-key.ts";
import { conflictError, mismatchError } from "./once-refusals.ts";
import { OnceRun } from "./once-run.ts";
import { replay } from "./replay.ts";
import { differenceFrom, digestRequest, type RequestDigest, writeDigest } from "./request-digest.ts";
import type { ServiceIdempotency } from "./service-idempotency.ts";

export interface OnceParts extends ForwardParts, SignatureParts {}

interface Keyed extends Client {
  readonly idempotency: ServiceIdempotency;
  readonly request: UpstreamRequest;
  readonly parts: OnceParts;
}

const EMPTY = Buffer.alloc(0);

/** Resolves when the client has its response or has left. @throws GatewayError while nothing of a response was sent. */
export async function forwardOnce(
  exchange: Exchange,
  { route, request }: { readonly route: Route; readonly request: UpstreamRequest },
  parts: OnceParts,
  send: typeof forward,
): Promise<void> {
  const { idempotency } = route.prepared;
  if (idempotency === undefined || !asksForIdempotency(exchange)) return send(exchange, route, request, parts);
  const key = readIdempotencyKey(exchange.req.rawHeaders);
  if (key instanceof GatewayError) throw key;
  const keyed = { exchange, route, request, parts, idempotency };
  exchange.idempotency = "first";
  const release = await readBody(keyed);
  let running: Promise<void> | undefined;
  try {
    const run = await claimAndRun(keyed, idempotency.claimKeyOf(exchange.callerId, key));
    if (run === undefined) return;
    // It goes on after its client has left.
    running = run.run((detached) => send(detached, route, request, parts));
    await run.result;
  } finally {
    idempotency.count(exchange.idempotency ?? "first");
    if (running === undefined) release();
    else void running.finally(release);
  }
}

/** @returns undefined where the client has its response. @throws GatewayError */
async function claimAndRun(keyed: Keyed, claimKey: string): Promise<OnceRun | undefined> {
  const { exchange, request, idempotency } = keyed;
  const body = exchange.body ?? EMPTY;
  const digest = digestRequest(request, body, idempotency.context.sign);
  const claimed = await claimRequest(keyed, claimKey, digest);
  if (claimed.state !== "won") return respondTo(claimed, keyed, claimKey, digest);
  const { parts } = keyed;
  const onError = (err: unknown) => parts.logger.error({ err, service: exchange.serviceKey }, "a claim was not stored");
  const claim = new HeldClaim(idempotency, claimKey, claimed.fence, onError);
  try {
    admitToUpstream(keyed);
  } catch (thrown) {
    claim.release();
    throw thrown;
  }
  return new OnceRun({ ...keyed, body, claim });
}

/** @throws GatewayError where the claim is not durable: the request must not be sent. */
async function claimRequest(
  { exchange, idempotency, parts }: Keyed,
  key: string,
  digest: RequestDigest,
): Promise<Claimed> {
  const claim = { key, owner: exchange.callerId, request: writeDigest(digest), until: idempotency.end() };
  const { claims, running } = idempotency.context;
  // From now on, because the store may be slow: until it has the claim, an equal request finds one whose request is not over.
  const isNew = !running.has(key);
  if (isNew) running.add(key);
  let claimed: Claimed | undefined;
  try {
    claimed = await claims.claim(claim, idempotency.now());
    return claimed;
  } catch (cause) {
    const headers = ["Retry-After", String(parts.retryAfterS)];
    if (!(cause instanceof ClaimsFull)) {
      const message = "The Idempotency-Key cannot be stored, so the request was not sent.";
      throw new GatewayError("STORE_UNAVAILABLE", { message, headers, cause });
    }
    throw new GatewayError("UNDER_PRESSURE", {
      message: `The gateway remembers ${cause.claims} requests of this caller with an Idempotency-Key, and no more.`,
      headers,
      extra: { pressure: { gauge: "idempotencyKeys", value: cause.claims, limit: cause.claims } },
    });
  } finally {
    if (isNew && claimed?.state !== "won") running.delete(key);
  }
}

async function respondTo(
  claimed: Exclude<Claimed, { readonly state: "won" }>,
  { idempotency, ...client }: Keyed,
  claimKey: string,
  digest: RequestDigest,
): Promise<undefined> {
  const { exchange } = client;
  const difference = differenceFrom(claimed.request, digest);
  exchange.idempotency = difference === undefined ? "conflict" : "mismatch";
  if (difference !== undefined) throw mismatchError(difference);
  const isRunning = idempotency.context.running.has(claimKey);
  if (claimed.state === "pending") throw conflictError(isRunning ? "running" : claimed.until - idempotency.now());
  if (claimed.response === undefined) throw conflictError("not kept");
  exchange.idempotency = "replayed";
  await replay(client, claimed.response);
  return undefined;
}

/** Reads the body into the exchange, unless its signature needed it already. @returns what releases its memory. @throws GatewayError */
async function readBody({ exchange, route, parts, idempotency }: Keyed): Promise<() => void> {
  if (exchange.body !== undefined) return () => {};
  const limits = limitsOf(route.prepared.service, idempotency, parts);
  const oversized = decideBodySize(exchange, limits);
  if (oversized !== undefined) throw oversized;
  const release = () => {
    exchange.body = undefined;
    parts.signedBodies.release(exchange.bytesIn, exchange.clientAddress);
  };
  try {
    exchange.body = exchange.hasBody ? await readSignedBody(exchange, limits) : EMPTY;
    return release;
  } catch (thrown) {
    release();
    throw thrown;
  }
}

function limitsOf(
  { key, maxBodyBytes, timeoutMs }: Route["prepared"]["service"],
  { settings }: ServiceIdempotency,
  { signedBodies, retryAfterS }: OnceParts,
): BodyLimits {
  const isServices = maxBodyBytes > 0 && maxBodyBytes < settings.maxBodyBytes;
  return {
    serviceKey: key,
    maxBodyBytes: isServices ? maxBodyBytes : settings.maxBodyBytes,
    option: isServices ? "maxBodyBytes" : "idempotency.maxBodyBytes",
    bodies: "bodies with an Idempotency-Key",
    timeoutMs,
    budget: signedBodies,
    retryAfterS,
  };
}
