/**
 * `byteproxy keys`: what each command does, once its words are understood.
 * Invariant: a key is printed by the command that makes it, on stdout, and nowhere else.
 */
import { CliFailure } from "./cli-failure.ts";
import { answerOf, type GatewayClient, openGatewayClient } from "./gateway-client.ts";
import type { Rate } from "./option-values.ts";
import { remark, say, sayJson, sayTable } from "./output.ts";
import type { CommonOptions } from "./services-actions.ts";

export interface CreateKeyOptions extends CommonOptions {
  readonly permission: readonly string[];
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

/** As the gateway shows it; instants are RFC 3339. */
interface KeyItem {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
  readonly uses: number;
  readonly state: string;
}

interface KeyList {
  readonly keys: readonly KeyItem[];
  readonly count: number;
}

type NewKey = KeyItem & { readonly key: string };

const pathOf = (id: string) => `/manage/keys/${encodeURIComponent(id)}`;

export async function createKey(name: string, options: CreateKeyOptions): Promise<void> {
  const { permission: permissions, expiresIn, rateLimit, allowIp: allowIps } = options;
  const expiresAt = expiresIn === undefined ? options.expiresAt : new Date(Date.now() + expiresIn).toISOString();
  // What was not said is not sent: JSON leaves undefined members out.
  const body = { name, permissions, expiresAt, rateLimit, allowIps };
  showOnce(await openKeys(options).ask("POST", "/manage/keys", body), options);
}

export async function rotateKey(id: string, options: RotateKeyOptions): Promise<void> {
  const body = { graceSeconds: options.grace };
  showOnce(await openKeys(options).ask("POST", `${pathOf(id)}/rotate`, body), options);
}

export async function listKeys(options: CommonOptions): Promise<void> {
  const list = answerOf<KeyList>(await openKeys(options).ask("GET", "/manage/keys"), "keys", "count");
  if (options.json) return sayJson(list);
  sayTable(["ID", "NAME", "PERMISSIONS", "STATE", "EXPIRES", "LAST USED", "USES"], list.keys.map(row));
}

function row({ id, name, permissions, state, expiresAt, lastUsedAt, uses }: KeyItem): string[] {
  return [id, name, permissions.join(" "), state, expiresAt ?? "never", lastUsedAt ?? "never", String(uses)];
}

export async function revokeKey(id: string, options: CommonOptions): Promise<void> {
  await openKeys(options).ask("DELETE", pathOf(id));
  if (options.json) return sayJson({ id, revoked: true });
  say(`${id} is revoked`);
}

/** The key alone on stdout, so that `KEY=$(…)` takes it and nothing else. */
function showOnce(answer: unknown, { json }: CommonOptions): void {
  const item = answerOf<NewKey>(answer, "id", "name", "key", "permissions");
  if (json) return sayJson(item);
  const { id, name, key, permissions, expiresAt } = item;
  say(key);
  const end = expiresAt ? `it expires at ${expiresAt}` : "it does not expire";
  remark(`This is the key ${name} (${id}) for ${permissions.join(" ")}; ${end}. It is shown this once: keep it now.`);
}

/** The one place that knows what `--offline` does for keys. @throws CliFailure */
function openKeys({ url, offline }: CommonOptions): GatewayClient {
  if (offline) throw new CliFailure(2, ["keys --offline: not yet; start the gateway and leave --offline out."]);
  return openGatewayClient(url);
}
