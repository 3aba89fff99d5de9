/**
 * A service with everything that is the same for each of its requests, computed once.
 * Invariant: derived from one Service object and discarded with it, so that a changed service never mixes with its old definition.
 */
import { createKeyPlaces, type KeyPlaces } from "../callers/key-places.ts";
import { foldName } from "../callers/overrides.ts";
import { SIGNATURE_NAMES } from "../config/aws-signature-names.ts";
import type { ProxyUse } from "../config/egress-proxy.ts";
import { placementsOf } from "../config/placements.ts";
import type { Service } from "../config/schema.ts";
import { returnableSecrets } from "../config/service-secrets.ts";
import { messageRuleOf } from "../config/ws-schema.ts";
import type { Limiter } from "../limits/limiters.ts";
import { Slots } from "../pressure/slots.ts";
import { createPayloadRules, type PayloadRules } from "./aws/payload.ts";
import type { ServiceCache } from "./cache/service-cache.ts";
import type { CredentialProvider } from "./credential/credential-provider.ts";
import { createPlacePlan, type PlacePlan } from "./credential/place-plan.ts";
import type { CredentialRefusals } from "./credential-refusals.ts";
import type { CircuitBreaker } from "./forward/breaker.ts";
import { createEchoMask, createLiveEchoMask, type EchoMask } from "./forward/echo-mask.ts";
import { createDial, type Dial, type DialOptions } from "./forward/egress.ts";
import type { EgressPolicy } from "./forward/egress-policy.ts";
import type { RetryBudget } from "./forward/retry.ts";
import { type BodyScrub, createBodyScrub } from "./forward/scrub/body-scrub.ts";
import { createStripPlan, type StripPlan } from "./forward/strip-plan.ts";
import { Http2Transport } from "./forward/transport/http2/http2-transport.ts";
import { createTransport, type Transport } from "./forward/transport/transport.ts";
import { createMessageInjector, type MessageInjector } from "./forward/websocket/message-injection.ts";
import type { ServiceIdempotency } from "./idempotency/service-idempotency.ts";
import { createPathHints, type PathHints } from "./path-hints.ts";
import type { ServiceQuota } from "./quota/service-quota.ts";
import { ServiceTimes } from "./service-times.ts";
import type { SignatureCheck } from "./signature/signature-check.ts";

/** One base URL in the parts that a request needs. */
export interface Base {
  /** `https://api.example.com`, normalised. */
  readonly origin: string;
  /** As written, at least `/`. */
  readonly path: string;
  /** `path` without one trailing slash; a request's path is appended to it. */
  readonly prefix: string;
  /** `/v9` for the base that the segment `v9` selects, empty for the others: where `prefix` is, below the service's root at the gateway. */
  readonly versionPath: string;
}

export interface PreparedService {
  readonly service: Service;
  /** `/proxy/<key>`: the root of the service, where its host or port is not its own. */
  readonly gatewayPrefix: string;
  readonly base: Base;
  /** Bases by the first path segment that selects them. */
  readonly versionedBases: ReadonlyMap<string, Base>;
  readonly credential: CredentialProvider;
  /** Masks what an upstream sends back of the credential; undefined where there is nothing to search for. */
  readonly echoMask: EchoMask | undefined;
  /** Masks the same in bodies; undefined without `scrubBodies`. */
  readonly scrub: BodyScrub | undefined;
  /** Query parameters that carry the credential. */
  readonly secretParameters: readonly string[];
  /** The query parameters that are not forwarded: these and the gateway's own. */
  readonly strippedParameters: readonly string[];
  /** Where callers may put their key; undefined for a service without a credential. */
  readonly keyPlaces: KeyPlaces | undefined;
  /** Puts the credential into messages of WebSockets; undefined where they pass untouched. */
  readonly messages: MessageInjector | undefined;
  /** Undefined for a credential in headers and the query. */
  readonly placePlan: PlacePlan | undefined;
  /** Undefined for a service whose requests are not signed. */
  readonly payloads: PayloadRules | undefined;
  readonly credentialRefusals: CredentialRefusals;
  readonly times: ServiceTimes;
  readonly stripPlan: StripPlan;
  readonly pathHints: PathHints | undefined;
  /** Folded names of the query parameters that the upstream may read as another method. */
  readonly methodParameters: ReadonlySet<string>;
  /** Methods that callers may use; undefined for all. */
  readonly methods: ReadonlySet<string> | undefined;
  readonly limiter: Limiter | undefined;
  /** Undefined in mode `off`. */
  readonly quota: ServiceQuota | undefined;
  /** Undefined where it is off. */
  readonly breaker: CircuitBreaker | undefined;
  readonly retryBudget: RetryBudget;
  /** Undefined for a service without a cache. */
  readonly cache: ServiceCache | undefined;
  /** Undefined where it is off. */
  readonly idempotency: ServiceIdempotency | undefined;
  /** Called for each cookie that the gateway could not limit to the service. */
  readonly noteDroppedCookie: () => void;
  /** Undefined for a service without signed requests. */
  readonly signature: SignatureCheck | undefined;
  /** Of requests in flight: `maxConcurrent`. */
  readonly slots: Slots;
  /** Of open WebSockets: `maxWebSockets`. */
  readonly webSocketSlots: Slots;
  readonly transport: Transport;
  /** Opens every connection to the upstream, for requests and WebSockets. */
  readonly dial: Dial;
  /** Ends everything that the service has open, once no exchange uses it. */
  close(): Promise<void>;
  /** Undefined for the embedded service, which has no address. */
  readonly egress: EgressPolicy | undefined;
  /** Undefined if every upstream is connected to directly. */
  readonly proxyUse: ProxyUse | undefined;
}

/** @param kept state that survives a change of the service. */
export function prepareService(
  service: Service,
  kept: Pick<
    PreparedService,
    | "limiter"
    | "credentialRefusals"
    | "quota"
    | "breaker"
    | "retryBudget"
    | "cache"
    | "idempotency"
    | "noteDroppedCookie"
    | "signature"
  >,
  dialOptions: DialOptions,
  credential: CredentialProvider,
): PreparedService {
  const dial = createDial(dialOptions);
  const transport = service.http2 ? new Http2Transport(dial, service) : createTransport(dial, service);
  const fixed = returnableSecrets(service);
  const secretParameters = credential.places.filter(({ kind }) => kind === "query").map(({ name }) => name);
  const isSigned = credential.places.some(({ kind }) => kind === "signature");
  const secrets = credential.secrets ?? (() => fixed);
  return {
    service,
    gatewayPrefix: `/proxy/${service.key}`,
    base: createBase(service.baseUrl, ""),
    versionedBases: new Map(
      Object.entries(service.versionedBaseUrls).map(([version, url]) => [version, createBase(url, `/${version}`)]),
    ),
    credential,
    echoMask: credential.secrets === undefined ? createEchoMask(fixed) : createLiveEchoMask(credential.secrets),
    scrub: service.scrubBodies ? createBodyScrub(service.key, secrets) : undefined,
    secretParameters,
    strippedParameters: ["api_key", ...secretParameters, ...(isSigned ? SIGNATURE_PARAMETERS : [])],
    keyPlaces: service.auth && createKeyPlaces(placementsOf(service.auth, service.ws)),
    messages: injectorOf(service, credential),
    placePlan: createPlacePlan(credential.places),
    payloads: credential.places.length > 0 ? createPayloadRules(service) : undefined,
    ...kept,
    times: new ServiceTimes(),
    stripPlan: createStripPlan(service, credential.places),
    pathHints: createPathHints(service.pathHints),
    methodParameters: new Set(service.methodParameters.map(foldName)),
    methods: service.methods === undefined ? undefined : withHead(service.methods),
    slots: new Slots(service.maxConcurrent),
    transport,
    webSocketSlots: new Slots(service.maxWebSockets),
    dial,
    async close() {
      credential.close?.();
      await transport.close();
    },
    egress: dialOptions.socketPath === undefined ? dialOptions.egress : undefined,
    proxyUse: dialOptions.proxyUse,
  };
}

/** Of a presigned URL. Some servers read them in lower case, too. */
const SIGNATURE_PARAMETERS = SIGNATURE_NAMES.flatMap((name) => [name, name.toLowerCase()]);

/** Undefined also where the secret is missing. */
function injectorOf({ ws }: Service, credential: CredentialProvider): MessageInjector | undefined {
  const rule = messageRuleOf(ws);
  const hasPlace = credential.places.some(({ kind }) => kind === "message");
  return rule && hasPlace ? createMessageInjector(rule, credential.staged?.settled ?? credential) : undefined;
}

/** The service with the current secrets of its credential, for operators and for masks. */
export function currentService({ service, credential }: Pick<PreparedService, "service" | "credential">): Service {
  return credential.describe === undefined ? service : { ...service, credential: credential.describe() };
}

function createBase(baseUrl: string, versionPath: string): Base {
  const { origin, pathname } = new URL(baseUrl);
  return { origin, path: pathname, prefix: pathname.replace(/\/$/, ""), versionPath };
}

/** HEAD is GET without the body (RFC 9110 section 9.3.2), so permission for GET includes HEAD. */
function withHead(methods: readonly string[]): ReadonlySet<string> {
  return new Set(methods.includes("GET") ? [...methods, "HEAD"] : methods);
}
