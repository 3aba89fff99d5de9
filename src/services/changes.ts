/**
 * Services added, changed and taken back at run time.
 * Invariant: a change is checked as a whole, then stored, and only then served; whatever fails leaves everything as it was. What
 * is served follows from what is stored (`generations.ts` watches the store), so that there is one way in.
 */

import type { Audit, Author } from "../callers/audit.ts";
import { refusePermission } from "../callers/decide-permission.ts";
import type { Config } from "../config/load-config.ts";
import { GatewayError } from "../errors.ts";
import { ABSENT, type Records, VersionConflict } from "../stores/records.ts";
import { type CheckParts, checkChange } from "./check-change.ts";
import { createServiceItems, type ServiceItem, type ServiceItemsParts } from "./items.ts";
import { maskHeaders } from "./masked-headers.ts";
import { mergePatch } from "./merge-patch.ts";
import { areMet, type Preconditions } from "./preconditions.ts";
import type { Registry } from "./registry.ts";
import type { StoredService } from "./stored-services.ts";

/** All that change something throw a GatewayError: VALIDATION_ERROR, EGRESS_NOT_ALLOWED, PRECONDITION_FAILED … */
export interface ServiceChanges {
  list(): ServiceItem[];
  /** @throws GatewayError SERVICE_NOT_CONFIGURED */
  read(key: string): ServiceItem;
  /** @throws as `read` */
  entityTag(key: string): string;
  create(key: string, config: unknown, author: Author): Promise<ServiceItem>;
  replace(key: string, config: unknown, author: Author, when: Preconditions): Promise<Replaced>;
  /** @param patch a merge patch (RFC 7396). */
  patch(key: string, patch: unknown, author: Author, when: Preconditions): Promise<ServiceItem>;
  /** Takes a runtime service away, or an override back. */
  remove(key: string, author: Author, when: Preconditions): Promise<void>;
}

export interface Replaced {
  readonly item: ServiceItem;
  readonly isNew: boolean;
}

export interface ServiceChangesParts extends ServiceItemsParts, Pick<CheckParts, "findForbidden"> {
  /** The configuration as it is now. */
  readonly config: () => Config;
  /** What is served now. */
  readonly registry: () => Pick<Registry, "find" | "list" | "refuseUnknown">;
  readonly stored: Records<StoredService>;
  /** Runs one change at a time, reloads included. */
  readonly inTurn: <T>(change: () => Promise<T>) => Promise<T>;
  readonly audit: Audit;
}

export function createServiceChanges(parts: ServiceChangesParts): ServiceChanges {
  const { config, registry, stored, inTurn, findForbidden, audit } = parts;
  const items = createServiceItems(parts);
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
      message: `${key} is ${current === undefined ? "not there" : "not what If-Match or If-None-Match expects"}.`,
      headers: current === undefined ? [] : ["ETag", current],
    });
  }

  async function change(action: string, key: string, next: StoredService["config"] | undefined, author: Author) {
    const before = configOf(key);
    const access = before?.access ?? "key";
    // Of a service that is taken away nobody's access changes.
    const beneath = config().services.get(key)?.access ?? access;
    guardAccess(author, access, next === undefined ? beneath : (next.access ?? "key"));
    await store(stored, key, next);
    const after = configOf(key);
    await audit.record(author, {
      ...{ action: `service.${action}`, subject: key },
      ...(before === undefined ? {} : { before: maskHeaders(before) }),
      ...(after === undefined ? {} : { after: maskHeaders(after) }),
    });
  }

  async function put({ action, key, masked, at = "" }: Put, author: Author): Promise<ServiceItem> {
    const { readRuntimeService, settings } = config();
    const parts = { readRuntimeService, findForbidden, isTlsStrict: settings.STRICT_TLS };
    const checked = checkChange({ key, masked, before: configOf(key), at }, parts);
    await change(action, key, checked, author);
    return read(key);
  }

  return {
    list: items.list,
    read,
    entityTag: (key) => items.entityTagOf(read(key)),
    create: (key, masked, author) =>
      inTurn(async () => {
        if (configOf(key) === undefined) return put({ action: "create", key, masked, at: "config" }, author);
        throw new GatewayError("DUPLICATE_ENTRY", { message: `There is a service ${key} already.` });
      }),
    replace: (key, masked, author, when) =>
      inTurn(async () => {
        requireMet(key, when);
        const isNew = items.find(key) === undefined;
        return { item: await put({ action: isNew ? "create" : "replace", key, masked }, author), isNew };
      }),
    patch: (key, patch, author, when) =>
      inTurn(async () => {
        read(key);
        requireMet(key, when);
        const masked = mergePatch(maskHeaders(configOf(key) ?? {}), patch);
        return put({ action: "patch", key, masked }, author);
      }),
    remove: (key, author, when) =>
      inTurn(async () => {
        read(key);
        requireMet(key, when);
        if (stored.entries.has(key)) return change("delete", key, undefined, author);
        throw new GatewayError("READ_ONLY_SERVICE", { message: `${key} was not added over REST.` });
      }),
  };
}

interface Put {
  readonly action: "create" | "replace" | "patch";
  readonly key: string;
  /** As it came in: what was shown as `***` stands for what it hid. */
  readonly masked: unknown;
  /** As in `checkChange`. */
  readonly at?: string;
}

/** Who may call a service is a matter of keys. @throws GatewayError */
function guardAccess({ issued }: Author, before: unknown, after: unknown): void {
  if (before === after || issued === undefined || issued.permissions.allowsManage("keys")) return;
  throw refusePermission("manage:keys");
}

/** @param next undefined takes it out. @throws GatewayError when nothing was changed. */
async function store(stored: Records<StoredService>, key: string, next: StoredService["config"] | undefined) {
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
}
