/**
 * Services that are added, changed and removed at run time.
 * Invariant: a change is checked as a whole, then stored, and only then served; a change that fails changes nothing. The live
 * table follows the store (`generations.ts` watches it), so that every change of a stored service takes the same path.
 */
import type { Audit, Author } from "../callers/audit.ts";
import type { Config } from "../config/load-config.ts";
import { showPath } from "../config/problems.ts";
import type { Service } from "../config/schema.ts";
import type { FoundProblem } from "../config/translate-issue.ts";
import { GatewayError } from "../errors.ts";
import { isObject } from "../is-object.ts";
import { ABSENT, type Records, VersionConflict } from "../stores/records.ts";
import { guardAccess, requireKeysPermission } from "./guard-access.ts";
import { guardAddresses, portRefusal, requireFreeAddresses } from "./guard-addresses.ts";
import { createServiceItems, type ServiceItem, type ServiceItemsParts } from "./items.ts";
import { MASK, maskConfig, unmaskConfig } from "./masked-config.ts";
import type { Registry } from "./registry.ts";
import { createStoredBudget } from "./stored-budget.ts";
import type { StoredService } from "./stored-services.ts";

/** The methods that change a service throw a GatewayError: VALIDATION_ERROR, EGRESS_NOT_ALLOWED, PRECONDITION_FAILED … */
export interface ServiceChanges {
  list(): Promise<ServiceItem[]>;
  /** @throws GatewayError SERVICE_NOT_CONFIGURED */
  read(key: string): ServiceItem;
  /** @throws as `read` */
  entityTag(key: string): string;
  create(key: string, config: unknown, author: Author): Promise<ServiceItem>;
  replace(key: string, config: unknown, author: Author, when: Preconditions): Promise<Replaced>;
  /** @param patch a merge patch (RFC 7396). */
  patch(key: string, patch: unknown, author: Author, when: Preconditions): Promise<ServiceItem>;
  /** Removes a runtime service, or an override. */
  remove(key: string, author: Author, when: Preconditions): Promise<void>;
}

/** The fields of a conditional request (RFC 9110 section 13.1) as they were sent: each a list of entity tags, or `*`. */
export interface Preconditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

export interface Replaced {
  readonly item: ServiceItem;
  readonly isNew: boolean;
}

export interface ServiceChangesParts extends ServiceItemsParts {
  /** The current configuration. */
  readonly config: () => Config;
  /** What is served now. */
  readonly registry: () => Pick<Registry, "find" | "list" | "refuseUnknown">;
  readonly stored: Records<StoredService>;
  /** Runs one change at a time, reloads included. */
  readonly runExclusive: <T>(change: () => Promise<T>) => Promise<T>;
  /** The URL of a service that the egress rules forbid, with the reason, as far as it is known without a DNS look-up. */
  readonly findForbidden: (service: Service) => { readonly url: string; readonly reason: string } | undefined;
  readonly audit: Audit;
  /** Opens the service's own port, if it has one that is not open. @throws PortUnavailable */
  readonly openPort: (service: Service) => Promise<void>;
  /** Closes ports that no served service has. */
  readonly closeUnusedPorts: () => void;
}

/** A service as it will be stored, and served. */
interface Checked {
  readonly config: StoredService["config"];
  readonly service: Service;
}

export function createServiceChanges(parts: ServiceChangesParts): ServiceChanges {
  const { config, registry, stored, runExclusive, audit } = parts;
  const items = createServiceItems(parts);
  const budget = createStoredBudget(stored);
  const { configOf } = items;

  function read(key: string): ServiceItem {
    const item = items.find(key);
    if (item === undefined) throw registry().refuseUnknown(key);
    return item;
  }

  function requireMet(key: string, when: Preconditions): void {
    const item = items.find(key);
    const current = item && items.entityTagOf(item);
    if (areMet(when, current)) return;
    throw new GatewayError("PRECONDITION_FAILED", {
      message:
        current === undefined
          ? `There is no service ${key}.`
          : `The state of ${key} does not match If-Match or If-None-Match.`,
      headers: current === undefined ? [] : ["ETag", current],
    });
  }

  /** @param next undefined to remove it. */
  async function change({ action, key, at = "" }: Omit<Put, "masked">, next: Checked | undefined, author: Author) {
    const before = configOf(key);
    const configured = config().services.get(key);
    const defined = config().definitions.get(key)?.input;
    // If the configuration has no service of this key, its removal opens nothing.
    guardAccess(author, before, next === undefined ? (defined ?? before) : next.config);
    const content = next === undefined ? configured?.webContent : next.config.webContent;
    if (content === "pass" && before?.webContent !== "pass") requireKeysPermission(author);
    guardAddresses(author, before, next === undefined ? defined : next.config);
    const service = next === undefined ? configured : next.service;
    try {
      if (service !== undefined) {
        requireFreeAddresses(service, registry().list());
        await parts.openPort(service);
      }
      await store(stored, key, next?.config);
    } catch (error) {
      parts.closeUnusedPorts();
      throw portRefusal(error, at);
    }
    const after = configOf(key);
    await audit.record(author, {
      action: `service.${action}`,
      subject: key,
      ...(before === undefined ? {} : { before: maskConfig(before) }),
      ...(after === undefined ? {} : { after: maskConfig(after) }),
    });
  }

  async function put({ action, key, masked, at = "" }: Put, author: Author): Promise<ServiceItem> {
    const checked = checkChange({ key, masked, before: configOf(key), at }, parts);
    budget.requireRoom(key, checked.config);
    await change({ action, key, at }, checked, author);
    return read(key);
  }

  return {
    list: items.list,
    read,
    entityTag: (key) => items.entityTagOf(read(key)),
    create: (key, masked, author) =>
      runExclusive(async () => {
        if (configOf(key) === undefined) return put({ action: "create", key, masked, at: "config" }, author);
        throw new GatewayError("DUPLICATE_ENTRY", { message: `A service ${key} exists already.` });
      }),
    replace: (key, masked, author, when) =>
      runExclusive(async () => {
        requireMet(key, when);
        const isNew = items.find(key) === undefined;
        return { item: await put({ action: isNew ? "create" : "replace", key, masked }, author), isNew };
      }),
    patch: (key, patch, author, when) =>
      runExclusive(async () => {
        read(key);
        requireMet(key, when);
        const masked = mergePatch(maskConfig(configOf(key) ?? {}), patch);
        return put({ action: "patch", key, masked }, author);
      }),
    remove: (key, author, when) =>
      runExclusive(async () => {
        read(key);
        requireMet(key, when);
        if (stored.entries.has(key)) return change({ action: "delete", key }, undefined, author);
        throw new GatewayError("READ_ONLY_SERVICE", { message: `${key} was not added over REST.` });
      }),
  };
}

interface Put {
  readonly action: "create" | "replace" | "patch" | "delete";
  readonly key: string;
  /** As it was sent: a `***` means the value that it replaced. */
  readonly masked: unknown;
  /** As in `Change`. */
  readonly at?: string;
}

/** @param next undefined to remove it. @throws GatewayError if nothing was changed. */
async function store(stored: Records<StoredService>, key: string, next: StoredService["config"] | undefined) {
  const expected = stored.entries.get(key)?.version ?? ABSENT;
  try {
    if (next === undefined) await stored.delete(key, expected);
    else await stored.put(key, { config: next }, expected);
  } catch (cause) {
    if (cause instanceof VersionConflict) {
      throw new GatewayError("PRECONDITION_FAILED", {
        message: `${key} was changed by another request in the meantime.`,
      });
    }
    throw new GatewayError("INTERNAL_ERROR", {
      message: "The change could not be stored, and nothing was changed.",
      hint: "Check the free space and the permissions of DATA_DIR; the log has the cause.",
      cause,
    });
  }
}

export interface Change {
  readonly key: string;
  /** As it was sent, masks included. */
  readonly masked: unknown;
  /** The configuration that the masks refer to; undefined for a new service. */
  readonly before: StoredService["config"] | undefined;
  /** The member of the request body that holds the service; empty if it is the body. */
  readonly at: string;
}

/**
 * Restores masked values and checks the schema, the secret lock and the address.
 * @returns what may be stored and served as it is. @throws GatewayError VALIDATION_ERROR or EGRESS_NOT_ALLOWED
 */
function checkChange(
  change: Change,
  { config, findForbidden }: Pick<ServiceChangesParts, "config" | "findForbidden">,
): Checked {
  const { readRuntimeService, settings } = config();
  const input = withoutMasks(change, settings.STRICT_TLS);
  const reading = readRuntimeService(change.key, input);
  if ("problems" in reading) throw invalid(reading.problems, change.at);
  if (reading.refusal !== undefined) throw new GatewayError("EGRESS_NOT_ALLOWED", reading.refusal);
  const forbidden = findForbidden(reading.service);
  if (forbidden !== undefined) {
    throw new GatewayError("EGRESS_NOT_ALLOWED", {
      message: `${forbidden.url} may not be called by a service added over REST: ${forbidden.reason}.`,
    });
  }
  return { config: input, service: reading.service };
}

function withoutMasks({ key, masked, before, at }: Change, isTlsStrict: boolean): StoredService["config"] {
  if (!isObject(masked)) {
    throw invalid([{ path: ["services", key], at: "value", text: "found no object, allowed: a service" }], at);
  }
  const unmasked = unmaskConfig(masked as StoredService["config"], before, isTlsStrict);
  if ("config" in unmasked) return unmasked.config;
  if ("missing" in unmasked) {
    const path = ["services", key, ...segmentsOf(unmasked.missing)];
    throw invalid([{ path, at: "value", text: `found ${MASK}, allowed: the value itself` }], at);
  }
  throw new GatewayError("EGRESS_NOT_ALLOWED", {
    message: `The hidden value of ${unmasked.foreign} is not sent to another origin than before, nor under looser TLS or through another egress proxy.`,
    hint: `Send the value of ${unmasked.foreign} itself, or remove it.`,
  });
}

/** `details` lists the problems by field of the request body: `baseUrl`, or `config.auth.type`. */
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

/** JSON Merge Patch (RFC 7396): members of the patch replace those of the target, null removes them, lists are replaced whole. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), value));
  }
  // fromEntries defines members, so that `__proto__` is a name like any other.
  return Object.fromEntries(merged);
}

/** @param current the entity tag of the present state; undefined if there is none. */
export function areMet({ ifMatch, ifNoneMatch }: Preconditions, current: string | undefined): boolean {
  if (current === undefined) return ifMatch === undefined;
  if (ifMatch !== undefined && !includesTag(ifMatch, current)) return false;
  // If-None-Match compares weakly (RFC 9110 section 13.1.2), If-Match strongly: there a weak tag matches nothing.
  return ifNoneMatch === undefined || !includesTag(ifNoneMatch.replaceAll("W/", ""), current);
}

function includesTag(tags: string, tag: string): boolean {
  return tags.trim() === "*" || tags.split(",").some((each) => each.trim() === tag);
}

/** Of `headers.X.Y`, `auth.query.key` or `baseUrl`: a name may contain dots. */
function segmentsOf(member: string): string[] {
  const pooled = /^auth\.of\.(\d+)\.(.*)$/s.exec(member);
  if (pooled !== null) return ["auth", "of", pooled[1] as string, ...(pooled[2] as string).split(/\.(.*)/s, 2)];
  const auth = member.startsWith("auth.") ? ["auth"] : [];
  return [...auth, ...(auth.length === 0 ? member : member.slice("auth.".length)).split(/\.(.*)/, 2)];
}
