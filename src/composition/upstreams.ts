/**
 * The upstreams of the served services, each with its connections, limits and slots.
 * Invariant: an unchanged service keeps its upstream, with connections and counts; and the egress rules of a service follow from
 * the source of its definition.
 */
import { isDeepStrictEqual } from "node:util";
import { type CredentialSource, hasSameSecrets } from "../config/credential-source.ts";
import { describeUse, type ProxySettings, proxyUseOf } from "../config/egress-proxy.ts";
import type { Config } from "../config/load-config.ts";
import { readTextFile } from "../config/read-file.ts";
import { isFromRest, type Service } from "../config/schema.ts";
import { type CacheClock, ServiceCache } from "../data-plane/cache/service-cache.ts";
import { createCredential } from "../data-plane/credential/create-credential.ts";
import type { CredentialProvider } from "../data-plane/credential/credential-provider.ts";
import type { EndpointAccess } from "../data-plane/credential/endpoint-exchange.ts";
import { CredentialLife } from "../data-plane/credential-life.ts";
import { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { BreakerState } from "../data-plane/forward/breaker.ts";
import { CircuitBreaker } from "../data-plane/forward/breaker.ts";
import type { DialOptions } from "../data-plane/forward/egress.ts";
import { type EgressPolicy, forbiddenUrl, proxyRules } from "../data-plane/forward/egress-policy.ts";
import { RetryBudget } from "../data-plane/forward/retry.ts";
import { exchangeSmall } from "../data-plane/forward/small-exchange.ts";
import { type IdempotencyContext, ServiceIdempotency } from "../data-plane/idempotency/service-idempotency.ts";
import { type PreparedService, prepareService } from "../data-plane/prepared-service.ts";
import type { QuotaContext } from "../data-plane/quota/credential-accounts.ts";
import { ServiceQuota } from "../data-plane/quota/service-quota.ts";
import { createSignatureCheck } from "../data-plane/signature/signature-check.ts";
import { replaceLimiter } from "../limits/replace-limiter.ts";
import type { SharedCounters } from "../stores/shared-counters.ts";
import type { EventFeed } from "../telemetry/event-feed.ts";
import type { Logger } from "../telemetry/logger.ts";
import { maskBaseUrl } from "../telemetry/redact.ts";
import type { CredentialSources } from "./credential-sources.ts";

export interface UpstreamContext {
  readonly settings: Pick<Config["settings"], "STRICT_TLS" | "EGRESS_ALLOW_PRIVATE"> & ProxySettings;
  readonly ownListeners: EgressPolicy["ownListeners"];
  /** Of the embedded echo server; undefined if it does not run. */
  readonly echoSocketPath: string | undefined;
  readonly quota: QuotaContext;
  /** Undefined where limits are local to the process. */
  readonly sharedCounters: SharedCounters | undefined;
  readonly credentials: CredentialSources;
  /** Undefined for the system's. */
  readonly cacheClock: CacheClock | undefined;
  readonly idempotency: IdempotencyContext;
  readonly logger: Logger;
  readonly events: Pick<EventFeed, "notice">;
}

export interface Upstream {
  readonly service: Service;
  readonly prepared: PreparedService;
  readonly dialOptions: DialOptions;
}

/**
 * Returns undefined for the embedded service if its server does not run: a request must not reach another server at its address.
 * @param old kept if nothing changed. @throws for a TLS file that was removed since the configuration was read.
 */
export function openUpstream(service: Service, context: UpstreamContext, old?: Upstream): Upstream | undefined {
  if (service.embedded && context.echoSocketPath === undefined) return undefined;
  const dialOptions = dialOptionsOf(service, context);
  if (old !== undefined && isSameUpstream(old, service, dialOptions)) return old;
  const credential = createCredential(
    service,
    { ...context.credentials, now: context.quota.clock.now },
    (isUpstream) => endpointAccess(dialOptions, context, isUpstream),
    old?.prepared.credential,
  );
  const state = stateFor(service, dialOptions, context, old);
  state.credentialRefusals.life = lifeOf(service, credential, context.credentials, old);
  return { service, prepared: prepareService(service, state, dialOptions, credential), dialOptions };
}

function lifeOf(
  { key: service, credential: source }: Service,
  credential: CredentialProvider,
  { uses, isSecret }: CredentialSources,
  old: Upstream | undefined,
): CredentialLife | undefined {
  if (source === undefined || credential.sourceId === undefined) return undefined;
  return new CredentialLife({ service, source, credential, uses, isSecret }, old?.prepared.credentialRefusals.life);
}

/** State that does not depend on what changed is kept: counts of an unchanged limit, refusals of an unchanged credential, the quota, failures. */
function stateFor(service: Service, dialOptions: DialOptions, context: UpstreamContext, old: Upstream | undefined) {
  const { sharedCounters: counters } = context;
  const isSameSecret = old !== undefined && hasSameSecrets(withoutNext(old.service), withoutNext(service));
  return {
    limiter: replaceLimiter(
      service.rateLimit,
      old && { rateLimit: old.service.rateLimit, limiter: old.prepared.limiter },
      counters && { counters, owner: `service:${service.key}` },
    ),
    credentialRefusals: isSameSecret ? old.prepared.credentialRefusals : new CredentialRefusals(),
    quota: quotaOf(service, context, old?.prepared.quota),
    breaker: breakerOf(service, context, old),
    retryBudget: old?.prepared.retryBudget ?? new RetryBudget(),
    cache: cacheOf(service, dialOptions, context, old),
    idempotency: idempotencyOf(service, context, old),
    noteDroppedCookie: old?.prepared.noteDroppedCookie ?? warnOnce(service, context),
    signature: createSignatureCheck(service, old?.prepared.signature),
  };
}

/** Of a rotation that has not begun. */
function withoutNext({ credential }: Service): CredentialSource | undefined {
  if (credential === undefined) return undefined;
  const { next: _, ...current } = credential;
  return current;
}

/** One line for each service: an upstream may send such a cookie with every response. */
function warnOnce({ key }: Service, { logger }: UpstreamContext): () => void {
  let hasWarned = false;
  return () => {
    if (hasWarned) return;
    hasWarned = true;
    const text = "a cookie with the prefix __Host- was not relayed: browsers would send it to every service";
    logger.warn({ service: key }, text);
  };
}

/** A breaker is kept unless the addresses, the way to them or its settings changed: failures of another upstream do not count. */
function breakerOf(service: Service, context: UpstreamContext, old: Upstream | undefined) {
  const { key, breaker: settings } = service;
  const { logger, events } = context;
  const reasonsOf = ({ baseUrl, versionedBaseUrls, breaker }: Service) => [baseUrl, versionedBaseUrls, breaker];
  const isSameWay =
    old !== undefined &&
    describeUse(old.dialOptions.proxyUse) === describeUse(proxyUseFor(service, context)) &&
    isDeepStrictEqual(reasonsOf(old.service), reasonsOf(service));
  if (isSameWay) return old.prepared.breaker;
  if (settings === false) return undefined;
  const onChange = (current: BreakerState) => {
    const { state, failures, requests } = current;
    events.notice("breaker", { service: key, ...current }, key);
    if (state === "open") {
      const { openMs } = settings;
      logger.warn({ service: key, failures, requests, openMs }, "the breaker is open: too many attempts failed");
    } else if (state === "half-open")
      logger.info({ service: key }, "the breaker is half-open: one attempt goes through");
    else logger.info({ service: key }, "the breaker is closed: the upstream is back");
  };
  return new CircuitBreaker(settings, onChange);
}

/**
 * A cache is kept unless its settings changed, or what its entries came from: everything else is in their keys or applied when they are
 * used. Of the credential the keys name the secret, but not what stands beside it, such as a user name.
 */
function cacheOf(
  service: Service,
  dialOptions: DialOptions,
  { cacheClock }: UpstreamContext,
  old: Upstream | undefined,
): ServiceCache | undefined {
  const reasonsOf = ({ cache, baseUrl, versionedBaseUrls, tls, auth, scrubBodies }: Service) => [
    ...[cache, baseUrl, versionedBaseUrls, tls, auth, scrubBodies],
  ];
  const isSameOrigin =
    old !== undefined &&
    isSameDial(old.dialOptions, dialOptions) &&
    isDeepStrictEqual(reasonsOf(old.service), reasonsOf(service));
  if (isSameOrigin) return old.prepared.cache;
  return service.cache && new ServiceCache(service.cache, cacheClock);
}

/** Claims outlive every change: a request is the same one as long as the upstream would receive the same. */
function idempotencyOf(service: Service, { idempotency }: UpstreamContext, old: Upstream | undefined) {
  if (old !== undefined && isDeepStrictEqual(old.service.idempotency, service.idempotency)) {
    return old.prepared.idempotency;
  }
  return service.idempotency && new ServiceIdempotency(service.key, service.idempotency, idempotency);
}

function quotaOf(service: Service, { quota }: UpstreamContext, old: ServiceQuota | undefined) {
  if (service.quota.mode === "off") return undefined;
  if (!old?.isFor(service)) return new ServiceQuota(service, quota);
  old.configure(service);
  return old;
}

function isSameUpstream(before: Upstream, service: Service, now: DialOptions): boolean {
  return isSameDial(before.dialOptions, now) && (before.service === service || isSameService(before.service, service));
}

function isSameService(
  { credential: oldCredential, signingSecret: oldSigningSecret, ...old }: Service,
  { credential, signingSecret, ...definition }: Service,
): boolean {
  return (
    hasSameSecrets(oldCredential, credential) &&
    hasSameSecrets(oldSigningSecret, signingSecret) &&
    isDeepStrictEqual(oldCredential?.withheld, credential?.withheld) &&
    isDeepStrictEqual(oldSigningSecret?.withheld, signingSecret?.withheld) &&
    isDeepStrictEqual(old, definition)
  );
}

function isSameDial(old: DialOptions, now: DialOptions): boolean {
  return (
    old.isTlsStrict === now.isTlsStrict &&
    old.socketPath === now.socketPath &&
    old.egress.allowsPrivate === now.egress.allowsPrivate &&
    describeUse(old.proxyUse) === describeUse(now.proxyUse) &&
    isDeepStrictEqual(old.pem, now.pem)
  );
}

function dialOptionsOf(service: Service, context: UpstreamContext): DialOptions {
  const { caFile, certFile, keyFile, strict } = service.tls;
  return {
    service,
    isTlsStrict: strict ?? context.settings.STRICT_TLS,
    pem: {
      ...(caFile === undefined ? {} : { ca: readPem(caFile, service) }),
      ...(certFile === undefined ? {} : { cert: readPem(certFile, service) }),
      ...(keyFile === undefined ? {} : { key: readPem(keyFile, service) }),
    },
    socketPath: service.embedded ? context.echoSocketPath : undefined,
    egress: egressOf(service, context),
    proxyUse: proxyUseFor(service, context),
  };
}

function readPem(path: string, { source }: Service): string {
  const reading = readTextFile(path, isFromRest(source));
  if (reading.state === "read") return reading.text;
  throw new Error(`${path} was removed, or can no longer be read`);
}

/** The first URL of the service that the egress rules forbid, with the reason, as far as it is known without a DNS look-up. */
export function findForbidden(service: Service, context: Pick<UpstreamContext, "settings" | "ownListeners">) {
  if (service.embedded) return undefined;
  const egress = egressOf(service, context);
  for (const url of [service.baseUrl, ...Object.values(service.versionedBaseUrls)]) {
    const reason = forbiddenUrl(url, egress);
    if (reason !== undefined) return { url: maskBaseUrl(url), reason };
  }
  const use = proxyUseFor(service, context);
  if (use === undefined) return undefined;
  const { url } = use.proxy;
  const reason = forbiddenUrl(url, proxyRules(use, egress));
  return reason === undefined ? undefined : { url, reason };
}

/** Services added over REST reach only public addresses by default; the services file is written by the operator and may name any. */
function egressOf(
  { source }: Pick<Service, "source">,
  { settings, ownListeners }: Pick<UpstreamContext, "settings" | "ownListeners">,
): EgressPolicy {
  return { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? !isFromRest(source), ownListeners };
}

const TOKEN_TIMEOUT_MS = 10_000;
const TOKEN_BYTES_LIMIT = 262_144;

/**
 * The operator named the token endpoint, also for a service that was added over REST: its `auth` is that of a service of the file.
 * @param isUpstream the endpoint belongs to the upstream, and is reached as it is.
 */
function endpointAccess(
  { proxyUse, ...upstream }: DialOptions,
  { settings, ownListeners }: Pick<UpstreamContext, "settings" | "ownListeners">,
  isUpstream: boolean,
): EndpointAccess {
  const { STRICT_TLS, EGRESS_ALLOW_PRIVATE: allowsPrivate = true } = settings;
  const limits = { timeoutMs: TOKEN_TIMEOUT_MS, bytesLimit: TOKEN_BYTES_LIMIT };
  const { pem, service, isTlsStrict, egress } = upstream;
  const { tls } = service;
  const wayOut = isUpstream
    ? { isTlsStrict, egress, proxyUse, upstreamTls: { tls, pem } }
    : { isTlsStrict: STRICT_TLS, egress: { allowsPrivate, ownListeners }, proxyUse };
  const upstreamWay = isUpstream ? [tls.servername, pem] : [];
  return {
    send: (url, asked) => exchangeSmall(url, { ...limits, ...asked }, wayOut),
    way: JSON.stringify([wayOut.isTlsStrict, wayOut.egress.allowsPrivate, describeUse(proxyUse), ...upstreamWay]),
  };
}

/** How a command without a gateway reaches the endpoints of a service's authorization server. */
export function loginAccess(
  service: Service,
  context: Pick<UpstreamContext, "settings" | "ownListeners">,
): EndpointAccess["send"] {
  const isTlsStrict = context.settings.STRICT_TLS;
  const egress = egressOf(service, context);
  const proxyUse = proxyUseFor(service, context);
  const dialOptions = { service, isTlsStrict, pem: {}, socketPath: undefined, egress, proxyUse };
  return endpointAccess(dialOptions, context, false).send;
}

function proxyUseFor({ embedded, egressProxy, source }: Service, { settings }: Pick<UpstreamContext, "settings">) {
  return embedded ? undefined : proxyUseOf(egressProxy, isFromRest(source), settings);
}
