/**
 * `byteproxy keys`: what each command does, once its words are understood.
 * Invariant: a key is printed by the command that makes it, on stdout, and nowhere else.
 */
import type { ListedKey } from "../callers/issued-keys.ts";
import { atKeyDesk, type NewKey } from "./key-desk.ts";
import type { Rate } from "./option-values.ts";
import { remark, say, sayJson, sayTable } from "./output.ts";
import type { CommonOptions } from "./services-actions.ts";

export interface CreateKeyOptions extends CommonOptions {
  readonly name: string;
  readonly permissions: readonly string[];
  /** RFC 3339. */
  readonly expiresAt?: string;
  /** ms */
  readonly expiresIn?: number;
  readonly rateLimit?: Rate;
  readonly allowIp?: readonly string[];
}

export interface RotateKeyOptions extends CommonOptions {
  /** s */
  readonly grace?: number;
}

export async function createKey(options: CreateKeyOptions): Promise<void> {
  const { name, permissions, expiresIn, rateLimit, allowIp: allowIps } = options;
  const expiresAt = expiresIn === undefined ? options.expiresAt : new Date(Date.now() + expiresIn).toISOString();
  const wanted = withoutUndefined({ name, permissions, expiresAt, rateLimit, allowIps });
  showOnce(await atKeyDesk(options, (desk) => desk.create(wanted)), options);
}

export async function rotateKey(id: string, options: RotateKeyOptions): Promise<void> {
  const wanted = withoutUndefined({ graceSeconds: options.grace });
  showOnce(await atKeyDesk(options, (desk) => desk.rotate(id, wanted)), options);
}

export async function listKeys(options: CommonOptions): Promise<void> {
  const list = await atKeyDesk(options, (desk) => desk.list());
  if (options.json) return sayJson(list);
  sayTable(["ID", "NAME", "PERMISSIONS", "STATE", "EXPIRES", "LAST USED", "USES"], list.keys.map(row));
}

function row({ id, name, permissions, state, expiresAt, lastUsedAt, uses }: ListedKey): string[] {
  return [id, name, permissions.join(" "), state, expiresAt ?? "never", lastUsedAt ?? "never", String(uses)];
}

export async function revokeKey(id: string, options: CommonOptions): Promise<void> {
  await atKeyDesk(options, (desk) => desk.revoke(id));
  if (options.json) return sayJson({ id, revoked: true });
  say(`${id} is revoked`);
}

/** The key alone on stdout, so that `KEY=$(…)` takes it and nothing else. */
function showOnce(item: NewKey, { json }: CommonOptions): void {
  if (json) return sayJson(item);
  const { id, name, key, permissions, expiresAt } = item;
  say(key);
  const end = expiresAt ? `it expires at ${expiresAt}` : "it does not expire";
  remark(`This is the key ${name} (${id}) for ${permissions.join(" ")}; ${end}. It is shown this once: keep it now.`);
}

/** What was not said is not asked for. */
function withoutUndefined(wanted: object): object {
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
}
