/**
 * Services added, changed and taken back at run time.
 * Invariant: a change is checked as a whole, then stored, and only then served; whatever fails leaves everything as it was. What
 * is served follows from what is stored (`generations.ts` watches the store), so that there is one way in.
 */
import type { Config } from "../config/load-config.ts";
import { showPath } from "../config/problems.ts";
import type { Service } from "../config/schema.ts";
import type { FoundProblem } from "../config/translate-issue.ts";
import { GatewayError } from "../errors.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import { ABSENT, type Records, VersionConflict } from "../stores/records.ts";
import type { Audit, Author } from "./audit.ts";
import { type CredentialState, credentialState } from "./credential-state.ts";
import { MASK, maskHeaders, unmaskHeaders } from "./masked-headers.ts";
import { mergePatch } from "./merge-patch.ts";
import type { Registry } from "./registry.ts";
import type { StoredService } from "./stored-service.ts";

/** One service as `/manage/services` shows it. */
export interface ServiceItem {
  readonly key: string;
  readonly source: Service["source"];
  /** By the schema of the services file; header values that may be secrets are masked. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly credential: {
    readonly state: CredentialState;
    /** `GITHUB_TOKEN` or `file:<path>`. */
    readonly source: string | null;
    readonly fingerprint: string | null;
  };
}

/** What RFC 9110 section 13.1 makes a change depend on; each a list of entity tags, or `*`. */
export interface Preconditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

export interface ServiceChanges {
  list(): ServiceItem[];
  /** @throws GatewayError SERVICE_NOT_CONFIGURED */
  read(key: string): ServiceItem;
  /** Strong; another one after each change. @throws as `read` */
  entityTag(key: string): string;
  /** @throws GatewayError, as all that follow: VALIDATION_ERROR, EGRESS_NOT_ALLOWED, DUPLICATE_ENTRY … */
  create(key: string, config: unknown, author: Author): Promise<ServiceItem>;
  replace(
    key: string,
    config: unknown,
    author: Author,
    when: Preconditions,
  ): Promise<{ item: ServiceItem; isNew: boolean }>;
  patch(key: string, patch: unknown, author: Author, when: Preconditions): Promise<ServiceItem>;
  /** Takes a runtime service away, or an override back. */
  remove(key: string, author: Author, when: Preconditions): Promise<void>;
}

export interface ServiceChangesParts {
  /** The configuration as it is now. */
  readonly config: () => Config;
  /** What is served now. */
  readonly registry: () => Pick<Registry, "find" | "list" | "refuseUnknown">;
  readonly stored: Records<StoredService>;
  /** Runs one change at a time, reloads included. */
  readonly inTurn: <T>(change: () => Promise<T>) => Promise<T>;
  /** Why a service may not go where it says, as far as that can be told without asking a resolver. */
  readonly findForbidden: (service: Service) => { readonly url: string; readonly reason: string } | undefined;
  readonly audit: Audit;
  readonly fingerprint: Fingerprint;
}

export function createServiceChanges(parts: ServiceChangesParts): ServiceChanges {
  const { config, registry, stored, inTurn, findForbidden, audit, fingerprint } = parts;

  const configOf = (key: string) =>
    (stored.entries.get(key)?.value.config ?? config().definitions.get(key)?.input) as
      | StoredService["config"]
      | undefined;

  function itemOf(service: Service): ServiceItem {
    const { key, source, credential } = service;
    const secret = credential?.secret?.reveal();
    return {
      ...{ key, source },
      config: maskHeaders(configOf(key) ?? {}),
      credential: {
        state: credentialState(service),
        source: credential?.source ?? null,
        fingerprint: secret === undefined ? null : fingerprint(secret),
      },
    };
  }

  function serviceOf(key: string): Service {
    const service = registry().find(key);
    if (service === undefined) throw registry().refuseUnknown(key);
    return service;
  }

  /** Of the whole configuration, masked values included, and of its version: one that comes back is another one. */
  function entityTag(key: string): string {
    const { source } = serviceOf(key);
    const version = stored.entries.get(key)?.version ?? ABSENT;
    const text = JSON.stringify([key, source, version, configOf(key)]);
    return `"${fingerprint(text)}${fingerprint(`2${text}`)}"`;
  }

  function requirePreconditions(key: string, { ifMatch, ifNoneMatch }: Preconditions): void {
    const current = registry().find(key) === undefined ? undefined : entityTag(key);
    const isMet =
      (ifMatch === undefined || (current !== undefined && listsTag(ifMatch, current))) &&
      (ifNoneMatch === undefined || current === undefined || !listsTag(ifNoneMatch, current));
    if (isMet) return;
    throw new GatewayError("PRECONDITION_FAILED", {
      message:
        current === undefined ? `There is no service ${key}.` : `${key} is not what If-Match or If-None-Match expects.`,
      headers: current === undefined ? [] : ["ETag", current],
    });
  }

  /** @param at where the config stands in the body that was sent. @throws GatewayError */
  function check(key: string, masked: unknown, at: string): StoredService["config"] {
    const input = withoutMasks(key, masked, configOf(key), at);
    const reading = config().readRuntimeService(key, input);
    if ("problems" in reading) throw invalid(reading.problems, at);
    if (reading.refusal !== undefined) throw notAllowed(reading.refusal);
    const forbidden = findForbidden(reading.service);
    if (forbidden !== undefined) {
      throw notAllowed({
        message: `${forbidden.url} may not be called by a service added over REST: ${forbidden.reason}.`,
      });
    }
    return input;
  }

  async function store(
    action: string,
    key: string,
    next: StoredService["config"] | undefined,
    author: Author,
  ): Promise<void> {
    const before = configOf(key);
    const expected = stored.entries.get(key)?.version ?? ABSENT;
    try {
      if (next === undefined) await stored.delete(key, expected);
      else await stored.put(key, { config: next }, expected);
    } catch (cause) {
      if (cause instanceof VersionConflict) {
        throw new GatewayError("PRECONDITION_FAILED", { message: `${key} was changed by somebody else meanwhile.` });
      }
      throw new GatewayError("INTERNAL_ERROR", {
        message: "The change could not be stored, and nothing was changed.",
        hint: "Look at the space and the permissions of DATA_DIR; the log has the cause.",
        cause,
      });
    }
    const after = configOf(key);
    await audit.record(author, {
      ...{ action, subject: key },
      ...(before === undefined ? {} : { before: maskHeaders(before) }),
      ...(after === undefined ? {} : { after: maskHeaders(after) }),
    });
  }

  return {
    list: () => registry().list().map(itemOf),
    read: (key) => itemOf(serviceOf(key)),
    entityTag,
    create: (key, masked, author) =>
      inTurn(async () => {
        if (registry().find(key) !== undefined || configOf(key) !== undefined) {
          throw new GatewayError("DUPLICATE_ENTRY", { message: `There is a service ${key} already.` });
        }
        await store("service.create", key, check(key, masked, "config"), author);
        return itemOf(serviceOf(key));
      }),
    replace: (key, masked, author, when) =>
      inTurn(async () => {
        requirePreconditions(key, when);
        const isNew = registry().find(key) === undefined;
        await store(isNew ? "service.create" : "service.replace", key, check(key, masked, ""), author);
        return { item: itemOf(serviceOf(key)), isNew };
      }),
    patch: (key, patch, author, when) =>
      inTurn(async () => {
        serviceOf(key);
        requirePreconditions(key, when);
        const masked = mergePatch(maskHeaders(configOf(key) ?? {}), patch);
        await store("service.patch", key, check(key, masked, ""), author);
        return itemOf(serviceOf(key));
      }),
    remove: (key, author, when) =>
      inTurn(async () => {
        serviceOf(key);
        requirePreconditions(key, when);
        if (!stored.entries.has(key)) {
          throw new GatewayError("READ_ONLY_SERVICE", { message: `${key} was not added over REST.` });
        }
        await store("service.delete", key, undefined, author);
      }),
  };
}

function withoutMasks(
  key: string,
  masked: unknown,
  before: StoredService["config"] | undefined,
  at: string,
): StoredService["config"] {
  if (typeof masked !== "object" || masked === null || Array.isArray(masked)) {
    throw invalid([{ path: ["services", key], at: "value", text: "found no object, allowed: a service" }], at);
  }
  const unmasked = unmaskHeaders(masked as StoredService["config"], before);
  if ("config" in unmasked) return unmasked.config;
  if ("missing" in unmasked) {
    const path = ["services", key, ...unmasked.missing.split(/\.(.*)/, 2)];
    throw invalid([{ path, at: "value", text: `found ${MASK}, allowed: the value itself` }], at);
  }
  throw notAllowed({
    message: `The hidden value of ${unmasked.foreign} is not sent to another origin than before.`,
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

function notAllowed(refusal: { readonly message: string; readonly hint?: string }): GatewayError {
  return new GatewayError("EGRESS_NOT_ALLOWED", refusal);
}

/** Strong comparison: a weak tag matches nothing (RFC 9110 section 8.8.3.2). */
function listsTag(list: string, tag: string): boolean {
  if (list.trim() === "*") return true;
  return list.split(",").some((each) => each.trim() === tag);
}
