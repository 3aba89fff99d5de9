/**
 * The services as they are served: each with its connections, its limit and its places.
 * Invariant: what did not change is taken over as it is, with its connections and counts; and a service's egress follows from
 * where its definition came from.
 */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/load-config.ts";
import { readTextFile } from "../config/read-file.ts";
import { isFromRest, type Service } from "../config/schema.ts";
import { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { BreakerState } from "../data-plane/forward/breaker.ts";
import { CircuitBreaker } from "../data-plane/forward/breaker.ts";
import { type DialOptions, type EgressPolicy, forbiddenUrl } from "../data-plane/forward/egress.ts";
import { RetryBudget } from "../data-plane/forward/retry.ts";
import { type PreparedService, prepareService } from "../data-plane/prepared-service.ts";
import type { QuotaContext } from "../data-plane/quota/credential-accounts.ts";
import { ServiceQuota } from "../data-plane/quota/service-quota.ts";
import { createLimiter } from "../limits/limiters.ts";
import type { Logger } from "../telemetry/logger.ts";

/** What an upstream is opened with, beside its service. */
export interface UpstreamContext {
  readonly settings: Pick<Config["settings"], "STRICT_TLS" | "EGRESS_ALLOW_PRIVATE">;
  readonly ownListeners: EgressPolicy["ownListeners"];
  /** Of the embedded echo server; undefined where it does not run. */
  readonly echoSocketPath: string | undefined;
  readonly quota: QuotaContext;
  readonly logger: Logger;
}

export interface Upstream {
  readonly service: Service;
  readonly prepared: PreparedService;
  readonly dialOptions: DialOptions;
}

/**
 * Undefined for the embedded service where its server does not run: its address must not be looked for elsewhere.
 * @param old taken over as it is when nothing of it changed. @throws for a TLS file that went away since it was checked.
 */
export function openUpstream(service: Service, context: UpstreamContext, old?: Upstream): Upstream | undefined {
  if (service.embedded && context.echoSocketPath === undefined) return undefined;
  const dialOptions = dialOptionsOf(service, context);
  if (old !== undefined && isSameUpstream(old, service, dialOptions)) return old;
  const kept = keptOf(service, context, old);
  return {
    service,
    prepared: prepareService(service, kept, dialOptions, context.quota.fingerprint.quota),
    dialOptions,
  };
}

/** A limit that did not change goes on counting, and so do the refusals of a credential that did not, what is known of a quota, and of failures. */
function keptOf(service: Service, context: UpstreamContext, old: Upstream | undefined) {
  const isSameLimit = old !== undefined && isDeepStrictEqual(old.service.rateLimit, service.rateLimit);
  const isSameSecret =
    old !== undefined && old.service.credential?.secret?.reveal() === service.credential?.secret?.reveal();
  return {
    limiter: isSameLimit ? old.prepared.limiter : createLimiter(service),
    credentialRefusals: isSameSecret ? old.prepared.credentialRefusals : new CredentialRefusals(),
    quota: quotaOf(service, context, old?.prepared.quota),
    breaker: breakerOf(service, context, old),
    retryBudget: old?.prepared.retryBudget ?? new RetryBudget(),
  };
}

/** What is known of an upstream holds for another one as little as what other settings would make of it. */
function breakerOf(service: Service, { logger }: UpstreamContext, old: Upstream | undefined) {
  const { key, breaker: settings } = service;
  const judgedBy = ({ baseUrl, versionedBaseUrls, breaker }: Service) => [baseUrl, versionedBaseUrls, breaker];
  if (old !== undefined && isDeepStrictEqual(judgedBy(old.service), judgedBy(service))) return old.prepared.breaker;
  if (settings === false) return undefined;
  const onChange = ({ state, failures, requests }: BreakerState) => {
    if (state === "open") {
      const { openMs } = settings;
      logger.warn({ service: key, failures, requests, openMs }, "the breaker is open: too many attempts failed");
    } else if (state === "half-open")
      logger.info({ service: key }, "the breaker is half-open: one attempt goes through");
    else logger.info({ service: key }, "the breaker is closed: the upstream is back");
  };
  return new CircuitBreaker(settings, () => performance.now(), onChange);
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
  { credential: oldCredential, ...old }: Service,
  { credential, ...definition }: Service,
): boolean {
  return (
    oldCredential?.source === credential?.source &&
    oldCredential?.secret?.reveal() === credential?.secret?.reveal() &&
    isDeepStrictEqual(old, definition)
  );
}

function isSameDial(old: DialOptions, now: DialOptions): boolean {
  return (
    old.isTlsStrict === now.isTlsStrict &&
    old.socketPath === now.socketPath &&
    old.egress.allowsPrivate === now.egress.allowsPrivate &&
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
  };
}

function readPem(path: string, { source }: Service): string {
  const reading = readTextFile(path, isFromRest(source));
  if (reading.state === "read") return reading.text;
  throw new Error(`${path} went away, or can no longer be read`);
}

/** The first of its URLs that will not be dialled, and why, as far as that can be told without asking a resolver. */
export function findForbidden(service: Service, context: Pick<UpstreamContext, "settings" | "ownListeners">) {
  if (service.embedded) return undefined;
  const egress = egressOf(service, context);
  for (const url of [service.baseUrl, ...Object.values(service.versionedBaseUrls)]) {
    const reason = forbiddenUrl(url, egress);
    if (reason !== undefined) return { url, reason };
  }
  return undefined;
}

/** What came over REST reaches public addresses only, unless the operator says otherwise; what the file says is the operator's word. */
function egressOf(
  { source }: Pick<Service, "source">,
  { settings, ownListeners }: Pick<UpstreamContext, "settings" | "ownListeners">,
): EgressPolicy {
  return { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? !isFromRest(source), ownListeners };
}
