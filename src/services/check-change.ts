/**
 * A change to a service, looked at before it is made: hidden values put back, the schema, the secret lock, the address.
 * Invariant: what comes out may be stored and served as it is; everything else is a refusal that says what to do.
 */
import type { Config } from "../config/load-config.ts";
import { showPath } from "../config/problems.ts";
import type { Service } from "../config/schema.ts";
import type { FoundProblem } from "../config/translate-issue.ts";
import { GatewayError } from "../errors.ts";
import { isObject } from "../is-object.ts";
import { MASK, unmaskHeaders } from "./masked-headers.ts";
import type { StoredService } from "./stored-services.ts";

/** What a change is checked with. */
export interface CheckParts {
  readonly readRuntimeService: Config["readRuntimeService"];
  /** STRICT_TLS */
  readonly isTlsStrict: boolean;
  /** Why a service may not go where it says, as far as that can be told without asking a resolver. */
  readonly findForbidden: (service: Service) => { readonly url: string; readonly reason: string } | undefined;
}

export interface Change {
  readonly key: string;
  /** As it was sent, masks included. */
  readonly masked: unknown;
  /** What the masks stand for; undefined for a service that is new. */
  readonly before: StoredService["config"] | undefined;
  /** The member of the body that holds it; empty when it is the body. */
  readonly at: string;
}

/** What is to be stored. @throws GatewayError VALIDATION_ERROR or EGRESS_NOT_ALLOWED */
export function checkChange(change: Change, parts: CheckParts): StoredService["config"] {
  const { readRuntimeService, findForbidden } = parts;
  const { key, at } = change;
  const input = withoutMasks(change, parts.isTlsStrict);
  const reading = readRuntimeService(key, input);
  if ("problems" in reading) throw invalid(reading.problems, at);
  if (reading.refusal !== undefined) throw new GatewayError("EGRESS_NOT_ALLOWED", reading.refusal);
  const forbidden = findForbidden(reading.service);
  if (forbidden !== undefined) {
    throw new GatewayError("EGRESS_NOT_ALLOWED", {
      message: `${forbidden.url} may not be called by a service added over REST: ${forbidden.reason}.`,
    });
  }
  return input;
}

function withoutMasks({ key, masked, before, at }: Change, isTlsStrict: boolean): StoredService["config"] {
  if (!isObject(masked)) {
    throw invalid([{ path: ["services", key], at: "value", text: "found no object, allowed: a service" }], at);
  }
  const unmasked = unmaskHeaders(masked as StoredService["config"], before, isTlsStrict);
  if ("config" in unmasked) return unmasked.config;
  if ("missing" in unmasked) {
    const path = ["services", key, ...unmasked.missing.split(/\.(.*)/, 2)];
    throw invalid([{ path, at: "value", text: `found ${MASK}, allowed: the value itself` }], at);
  }
  throw new GatewayError("EGRESS_NOT_ALLOWED", {
    message: `The hidden value of ${unmasked.foreign} is not sent to another origin than before, nor under looser TLS.`,
    hint: `Send the value of ${unmasked.foreign} itself, or take the header out.`,
  });
}

/** `details`: by the field of the body, `baseUrl` or `config.auth.type`, what is wrong with it. */
function invalid(problems: readonly FoundProblem[], at: string): GatewayError {
  const details: Record<string, string[]> = {};
  for (const { path, text, at: what, place } of problems) {
    const [, , ...inside] = path;
    const isKey = inside.length === 0 && what === "name";
    const field = isKey ? "key" : showPath([...(at === "" ? [] : [at]), ...inside]) || "config";
    details[field] = [...(details[field] ?? []), place === undefined ? text : `${place}: ${text}`];
  }
  const fields = Object.keys(details);
  return new GatewayError("VALIDATION_ERROR", {
    message: `The service is not valid: ${fields.join(", ")}.`,
    extra: { details },
  });
}
