/**
 * Describes the request that the upstream would receive.
 * Invariant: it is built by the function that builds the real one, with a mask instead of the credential; and a header value that
 * may be a secret is masked, no matter which side set it.
 */
import { proxyUrlFor } from "../../config/egress-proxy.ts";
import type { Service } from "../../config/schema.ts";
import { fillTemplate } from "../../config/template.ts";
import { isWebSocketUpgrade } from "../../perimeter/framing.ts";
import { MASK, maskHeader } from "../../services/masked-config.ts";
import { type CredentialPlace, type Injection, inject } from "../credential/credential-provider.ts";
import type { Exchange } from "../exchange.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { Route } from "../identify.ts";
import type { ExplainedHeader, ExplainedUpstream } from "./explanation.ts";

/** Headers that the gateway writes itself, or passes on only if they are valid. */
const OWN = /^(?:host|via|te|x-request-id|traceparent|forwarded|x-forwarded-.*)$/i;

/** Written again for the next hop with the same meaning. */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);
const UPGRADE: ReadonlySet<string> = new Set(["connection", "upgrade"]);

/** @param sent the client's header names and values. @param request stripped, without its credential. */
export function describeUpstream(
  exchange: Exchange,
  route: Route,
  sent: readonly (readonly [name: string, value: string])[],
  request: UpstreamRequest,
): ExplainedUpstream {
  const { prepared, base } = route;
  const { missing, places } = prepared.credential;
  inject(request, maskedInjection(missing === undefined ? places : []));
  const { path, headers } = request;
  const isWebSocket = isWebSocketUpgrade(exchange.req);
  const { service } = prepared;
  return {
    method: request.method,
    url: `${base.origin}${path}`,
    transport: isWebSocket ? "websocket" : service.http2 ? "http2" : "http",
    headers: compareHeaders(sent, [...headers, "Host", new URL(base.origin).host], isWebSocket, service),
    proxy: proxyUrlFor(prepared.proxyUse, base.origin) ?? null,
    timeoutMs: service.timeoutMs,
    connectTimeoutMs: service.connectTimeoutMs,
    retries: service.retries,
  };
}

/**
 * Runs no command, and reads no secret. @param places the text around the secrets of a path stays: it shows which template was used.
 */
function maskedInjection(places: readonly CredentialPlace[]): Injection {
  const of = (kind: CredentialPlace["kind"]) => places.filter((place) => place.kind === kind);
  const pairs = (kind: CredentialPlace["kind"]) =>
    of(kind)
      .map(({ name }) => `${name}=${MASK}`)
      .join("&");
  return {
    headers: [...of("header"), ...of("signature")].flatMap(({ name }) => [name, MASK]),
    query: pairs("query"),
    paths: of("path").map(({ template }) => fillTemplate(template, () => MASK)),
    form: pairs("form"),
    subprotocol: of("subprotocol").length === 0 ? "" : MASK,
  };
}

/** @param flat what the upstream gets, names and values in turn. */
function compareHeaders(
  sent: readonly (readonly [string, string])[],
  flat: readonly string[],
  isWebSocket: boolean,
  service: Service,
) {
  const namesOf = (headers: object) => new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const forced = namesOf(service.setHeaders);
  const configured = namesOf({ ...service.headers, ...service.setHeaders });
  const show = (name: string, value: string): ExplainedHeader => {
    const lowerCaseName = name.toLowerCase();
    const isOwn = !configured.has(lowerCaseName) && (OWN.test(name) || FRAMING.has(lowerCaseName));
    return { name, value: isOwn ? value : maskHeader(name, value) };
  };
  const got = flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as const] : []));
  const kept: ExplainedHeader[] = [];
  const removed: string[] = [];
  for (const [name, value] of sent) {
    const lowerCaseName = name.toLowerCase();
    // Otherwise a client could guess a forced value by sending it.
    const at = forced.has(lowerCaseName)
      ? -1
      : got.findIndex(([other, its]) => other.toLowerCase() === lowerCaseName && its === value.trim());
    const isRewritten = FRAMING.has(lowerCaseName) || (isWebSocket && UPGRADE.has(lowerCaseName));
    if (at === -1 && !isRewritten) {
      removed.push(name);
      continue;
    }
    if (at !== -1) got.splice(at, 1);
    kept.push(show(name, value));
  }
  return { added: got.map(([name, value]) => show(name, value)), removed, kept };
}
