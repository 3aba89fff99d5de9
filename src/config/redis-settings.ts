/** The variables of the shared store. Invariant: no problem, and nothing that prints the settings, shows the password. */
import { z } from "zod";
import { Secret } from "./secret.ts";
import { setting } from "./setting-kinds.ts";

/** A Redis server, as REDIS_URL names it. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  /** Of an ACL user; undefined for the default user. */
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  readonly database: number;
}

const FORM =
  "redis://host:6379, optionally with user:password@ before the host and /<database> after it; rediss:// for TLS";
const LATER = "redis:// or rediss://: Sentinel and Cluster are not yet supported by this version";

export const REDIS_URL = z
  .string()
  .transform((text, refinement): RedisServer => {
    const server = readRedisUrl(text);
    if (server !== undefined) return server;
    const message = /^redis\+(?:sentinel|cluster):/i.test(text) ? LATER : FORM;
    refinement.addIssue({ code: "custom", message });
    return z.NEVER;
  })
  .optional()
  .describe("Redis or Valkey server over which several gateways share their rate limits (docs/scaling.md)")
  .meta({ secret: true, allowed: FORM, default: "none: limits are local to the process" });

export const REDIS_PREFIX = setting("1 to 64 letters, digits and . _ : -", (text) =>
  /^[A-Za-z0-9._:-]{1,64}$/.test(text) ? text : undefined,
)
  .default("byteproxy:")
  .describe("beginning of the names of all keys in Redis; gateways with the same one share their limits");

/** Undefined for a URL of another form. */
export function readRedisUrl(text: string): RedisServer | undefined {
  if (!/^rediss?:\/\//i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text);
  const [, database] = /^\/?(\d{0,4})$/.exec(pathname) ?? [];
  if (hostname === "" || search !== "" || hash !== "" || database === undefined) return undefined;
  const [user, secret] = [decoded(username), decoded(password)];
  if (user === undefined || secret === undefined || (user !== "" && secret === "")) return undefined;
  return {
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: port === "" ? 6379 : Number(port),
    isTls: protocol === "rediss:",
    username: user === "" ? undefined : user,
    password: secret === "" ? undefined : new Secret(secret),
    database: Number(database),
  };
}

/** What a log or a response must not show. */
export function secretsOfRedis({ REDIS_URL: server }: { readonly REDIS_URL?: RedisServer | undefined }): string[] {
  const password = server?.password?.reveal();
  // A shorter one would hide parts of other words.
  return password === undefined || password.length < 4 ? [] : [password, encodeURIComponent(password)];
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
