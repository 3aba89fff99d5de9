/**
 * What user hooks may not change in a request and in a response, and what they do not see.
 * Invariant: the headers that frame a message, that belong to one connection, that carry the credential and that the gateway writes
 * itself are out of their reach; a value that is or may be a secret is shown as a mask.
 */
import { holdsKey, type IsKey, maskKeySegments } from "../../callers/carried-keys.ts";
import { SIGNATURE_NAMES } from "../../config/aws-signature-names.ts";
import type { HeaderRules } from "../../hooks/editable-headers.ts";
import type { RequestRules } from "../../hooks/request-draft.ts";
import { isSecretHeader, MASK } from "../../services/masked-config.ts";
import { BODY_DIGESTS } from "../credential/form-body.ts";
import { findPathProblem } from "../path-problem.ts";
import type { PreparedService } from "../prepared-service.ts";
import { headerTreatment } from "./answer-headers.ts";
import { UNSCRUBBABLE_REQUEST_FIELDS } from "./scrub/scrubbed-fields.ts";
import { HOP_BY_HOP } from "./strip-plan.ts";
import { keptQuery } from "./upstream-request.ts";

const OF_CONNECTION = "it belongs to the connection or frames the message";
const OF_GATEWAY = "the gateway writes it itself";
const OF_CREDENTIAL = "the service's credential is sent in its place";

/** They say how a body is encoded whose signature the gateway writes. */
const BODY_NAMES = ["Content-Encoding", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer"];

/** Beside the hop-by-hop headers. */
const FRAMING: ReadonlySet<string> = new Set(["host", "content-length", "expect"]);
const OWN: ReadonlySet<string> = new Set(["via", "x-request-id", "traceparent", "tracestate"]);
const FORWARDED: ReadonlySet<string> = new Set([
  ...["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"],
]);

export function requestRules(
  { service, credential, strippedParameters, echoMask }: PreparedService,
  isKey: IsKey,
): RequestRules {
  const { places } = credential;
  const taken = new Set(places.filter(({ kind }) => kind === "header").map(({ name }) => name.toLowerCase()));
  if (places.some(({ kind }) => kind === "signature")) {
    for (const name of [...SIGNATURE_NAMES, ...BODY_NAMES]) taken.add(name.toLowerCase());
  }
  // Where a credential is injected, no other one is sent beside it.
  if (places.length > 0) taken.add("authorization");
  if (places.some(({ kind }) => kind === "form")) {
    for (const name of ["content-type", "content-encoding", ...BODY_DIGESTS]) taken.add(name);
  }
  const unscrubbable = new Set(service.scrubBodies ? UNSCRUBBABLE_REQUEST_FIELDS : []);
  const configured = new Set(
    [...Object.keys(service.headers), ...Object.keys(service.setHeaders)].map((name) => name.toLowerCase()),
  );
  return {
    fault(name) {
      if (HOP_BY_HOP.has(name) || FRAMING.has(name) || name.startsWith("sec-websocket-")) return OF_CONNECTION;
      if (OWN.has(name) || (service.forwardedHeaders && FORWARDED.has(name))) return OF_GATEWAY;
      if (taken.has(name)) return OF_CREDENTIAL;
      if (name === "cookie" && !service.cookies) return "the service has no `cookies: true`";
      return unscrubbable.has(name) ? "the service has `scrubBodies`" : undefined;
    },
    valueFault: (value) => (holdsKey(value, isKey) ? "is a key of the gateway, which no upstream receives" : undefined),
    show: (name, value) => (isSecretHeader(name, configured.has(name)) ? MASK : value),
    pathFault(path) {
      if (maskKeySegments(path, isKey) !== path) return "A segment of it is a key of the gateway.";
      return findPathProblem(path, service.pathPolicy);
    },
    queryFault(query) {
      if (keptQuery(query, strippedParameters, isKey) === query) return undefined;
      return "It contains a key of the gateway, or a parameter in which the gateway sends or receives keys.";
    },
    mask: (text) => echoMask?.mask(text) ?? text,
  };
}

export function responseRules({ service, echoMask }: PreparedService): HeaderRules {
  return {
    fault(name) {
      if (name === "content-length") return OF_CONNECTION;
      if (name === "x-request-id") return OF_GATEWAY;
      if (name === "set-cookie" && !service.cookies) return "the service has no `cookies: true`";
      const treatment = headerTreatment(name);
      if (treatment === "isolated" && service.webContent === "isolate") {
        return "it acts on the whole origin of the gateway; `webContent: pass` allows it";
      }
      return treatment === "dropped" ? OF_GATEWAY_OR_HOP : undefined;
    },
    valueFault: () => undefined,
    show: (_, value) => echoMask?.mask(value) ?? value,
  };
}

const OF_GATEWAY_OR_HOP = "it belongs to the connection, or only the gateway sends it";
