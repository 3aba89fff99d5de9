/**
 * The environment variables: names, defaults, allowed values and meanings.
 * Invariant: a variable of a later version is refused at start, never ignored (NOT_YET below).
 */
import { z } from "zod";
import { EGRESS_PROXY, EGRESS_PROXY_AUTH, NO_PROXY } from "./proxy-settings.ts";
import { REDIS_PREFIX, REDIS_URL } from "./redis-settings.ts";
import { Secret } from "./secret.ts";
import { isAddressOrCidr, isBaseUrl, isHost, isOrigin } from "./setting-forms.ts";
import { choice, flag, integer, list, milliseconds, number, setting, splitList, TOKEN, text } from "./setting-kinds.ts";

/** A key of the gateway. Problems show only its length. */
const apiKey = (name: string) =>
  setting("at least 16 printable characters without spaces", (value) =>
    /^[\x21-\x7e]{16,}$/.test(value) ? new Secret(value) : undefined,
  )
    .optional()
    .describe(`key for ${name}, at least 16 characters`)
    .meta({ secret: true, default: "none" });

/** A secret that services added over REST may name, and the origin that it may be sent to. */
export interface RestSecret {
  /** `NAME`, or `file:<path>` as the operator wrote it. */
  readonly secret: string;
  readonly origin: string;
}

const REST_SECRETS_FORM = "comma-separated NAME@https://host or file:<path>@https://host, without keys of the gateway";

function readRestSecret(item: string): RestSecret | undefined {
  const [, secret, origin] = /^([A-Za-z_][A-Za-z0-9_]*|file:.+)@(https?:\/\/[^*]+)$/.exec(item) ?? [];
  if (secret === undefined || origin === undefined || OWN_SECRETS.has(secret)) return undefined;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  // In the form of a browser: without the default port, in lower case.
  return url?.href === `${url?.origin}/` ? { secret, origin: url.origin } : undefined;
}

/** Variables that may be read from a file instead: the variable of the same name with `_FILE` names it. */
export const SETTINGS_WITH_FILE = [
  "PROXY_API_KEY",
  "MANAGEMENT_API_KEY",
  "JWT_SECRET",
  "EGRESS_PROXY",
  "EGRESS_PROXY_AUTH",
  "REDIS_URL",
] as const;

/** Variables that hold, or lead to, keys of the gateway. They cannot be the credential of a service. */
export const OWN_SECRETS: ReadonlySet<string> = new Set(SETTINGS_WITH_FILE.flatMap((name) => [name, `${name}_FILE`]));

export const settingsSchema = z.object({
  PORT: integer(0, 65535).default(3420).describe("port to listen on; 0 lets the system choose a free one"),
  HOST: setting("a host name or address", (value) => (isHost(value) ? value : undefined))
    .default("localhost")
    .describe(
      "address to listen on; `localhost` is 127.0.0.1 and, where IPv6 exists, ::1; the container image sets `0.0.0.0`",
    ),
  PUBLIC_URL: setting("an http or https URL without query", (value) =>
    isBaseUrl(value) ? value.replace(/\/+$/, "") : undefined,
  )
    .optional()
    .describe("base URL for rewritten links")
    .meta({ default: "from the `Host` of the request" }),
  CONFIG_FILE: text("a path")
    .default("config/services.json")
    .describe("services file, JSON or YAML; if this is set, the file must exist"),
  DATA_DIR: text("a path")
    .default("./data")
    .describe("folder for run-time state, created with mode 0700; no other user may be its owner or write to it"),
  REDIS_URL,
  REDIS_PREFIX,
  PROXY_API_KEY: apiKey("`/proxy/*`"),
  MANAGEMENT_API_KEY: apiKey("`/manage/*`"),
  JWT_ISSUER: setting("printable characters without spaces", (value) =>
    /^[\x21-\x7e]+$/.test(value) ? value : undefined,
  )
    .optional()
    .describe("issuer (`iss`) of the JSON Web Tokens that `/proxy/*` accepts as keys")
    .meta({ default: "none: no tokens" }),
  JWT_AUDIENCE: setting("comma-separated audiences", (value) => {
    const audiences = splitList(value);
    return audiences.length > 0 ? audiences : undefined;
  })
    .optional()
    .describe("audiences: a token needs one of them in `aud`")
    .meta({ default: "none" }),
  JWT_JWKS_URL: setting("an https URL; http only on a loopback address", (value) =>
    URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && !/[#@]/.test(value) ? value : undefined,
  )
    .optional()
    .describe("URL of the issuer's public keys (JWKS), for tokens with an asymmetric signature")
    .meta({ default: "none" }),
  JWT_SECRET: setting("at least 32 printable characters without spaces", (value) =>
    /^[\x21-\x7e]{32,}$/.test(value) ? new Secret(value) : undefined,
  )
    .optional()
    .describe("shared secret instead of `JWT_JWKS_URL`, for tokens signed with HS256, HS384 or HS512")
    .meta({ secret: true, default: "none" }),
  JWT_PERMISSIONS_CLAIM: setting("the name of a claim", (value) => (/^\S.{0,199}$/.test(value) ? value : undefined))
    .optional()
    .describe("claim with the permissions of a token, a list or a text separated by spaces")
    .meta({ default: "`permissions`, else `scope`" }),
  REQUIRE_AUTH_FOR_PROXY: flag()
    .optional()
    .describe("`true` requires the key, an issued one or a token; `false` opens the plane, with a warning")
    .meta({ default: "on when the key, or tokens, are set" }),
  REQUIRE_AUTH_FOR_MANAGEMENT: flag()
    .optional()
    .describe("the same for `/manage/*`")
    .meta({ default: "on when the key is set" }),
  ALLOW_UNAUTHENTICATED: flag()
    .default(false)
    .describe("allows a start with a `HOST` that is not loopback and an unprotected plane"),
  ALLOWED_HOSTS: list("comma-separated host names, or *")
    .optional()
    .describe("host names that are accepted while a plane is unprotected (against DNS rebinding); `*` accepts all")
    .meta({ default: "loopback names" }),
  MANAGEMENT_PORT: integer(0, 65535)
    .optional()
    .describe(
      "port of a second listener: `/manage`, `/docs`, `/status` and `/metrics` are then served only there, `/health` on both",
    )
    .meta({ default: "none" }),
  MANAGEMENT_HOST: setting("a host name or address", (value) => (isHost(value) ? value : undefined))
    .optional()
    .describe("address of the second listener")
    .meta({ default: "`HOST`" }),
  TLS_CERT_FILE: text("a path")
    .optional()
    .describe("PEM file with the certificate and its intermediates: `PORT` and `MANAGEMENT_PORT` then serve HTTPS")
    .meta({ default: "none: plain HTTP" }),
  TLS_KEY_FILE: text("a path")
    .optional()
    .describe("PEM file with the private key of `TLS_CERT_FILE`, without a passphrase")
    .meta({ default: "none" }),
  TLS_CLIENT_CA_FILE: text("a path")
    .optional()
    .describe("PEM file with authorities: clients then need a certificate of one of them, and a key as before")
    .meta({ default: "none" }),
  TRUST_PROXY: list("comma-separated addresses or CIDRs", isAddressOrCidr)
    .optional()
    .describe("trusted proxies: `X-Forwarded-*` is accepted only from these addresses")
    .meta({ default: "none" }),
  CORS_ORIGINS: list("comma-separated exact origins, or *", (item) => item === "*" || isOrigin(item))
    .prefault("")
    .describe("origins of web pages that may send requests and read responses (CORS); others get no CORS headers"),
  CORS_ENABLED: flag().default(true).describe("respond to preflights and add CORS headers for `CORS_ORIGINS`"),
  CORS_METHODS: list("comma-separated methods", (item) => TOKEN.test(item))
    .optional()
    .describe("methods that a preflight allows")
    .meta({ default: "all that the gateway forwards" }),
  CORS_HEADERS: list("comma-separated header names", (item) => TOKEN.test(item))
    .optional()
    .describe("request headers that a preflight allows")
    .meta({ default: "the headers that the preflight requests" }),
  CORS_CREDENTIALS: flag()
    .default(false)
    .describe("allow listed origins to send cookies and HTTP authentication; not allowed with `*`"),
  CORS_MAX_AGE: integer(0, 31_536_000)
    .default(86_400)
    .describe("s for which a browser may cache the response to a preflight"),
  NETWORK_TIMEOUT: milliseconds(1)
    .default(30_000)
    .describe("ms until the response headers of the upstream, including all attempts"),
  NETWORK_CONNECT_TIMEOUT: milliseconds(1).default(5_000).describe("ms to connect to an upstream"),
  NETWORK_RETRIES: integer(0, 10).default(2).describe("retries of a replayable request"),
  STRICT_TLS: flag().default(true).describe("verify the certificates of upstreams; `false` logs a warning at start"),
  EGRESS_ALLOW_PRIVATE: flag()
    .optional()
    .describe("whether upstreams may be on loopback, private and other addresses that are not public")
    .meta({ default: "`true` for services from the file, `false` for those added over REST" }),
  EGRESS_PROXY,
  EGRESS_PROXY_AUTH,
  NO_PROXY,
  REST_SECRETS: z
    .string()
    .transform((value, refinement): readonly RestSecret[] => {
      const read = splitList(value).map(readRestSecret);
      const bad = read.flatMap((secret, index) => (secret === undefined ? [index + 1] : []));
      if (bad.length === 0) return read as RestSecret[];
      refinement.addIssue({
        code: "custom",
        message: `${REST_SECRETS_FORM}; check number ${bad.join(", ")} of the list`,
      });
      return z.NEVER;
    })
    .prefault("")
    .describe("secrets that services added over REST may use, each with the origin to which it may be sent")
    // By mistake, an operator may write the secret itself here.
    .meta({ default: "none", allowed: REST_SECRETS_FORM, secret: true }),
  ECHO_SERVICE: flag()
    .optional()
    .describe("the embedded upstream `echo`")
    .meta({ default: "on while `HOST` is loopback" }),
  MAX_CONNECTIONS: integer(1, 1_000_000).default(10_000).describe("client connections of each listener"),
  MAX_CONNECTIONS_PER_ADDRESS: integer(0, 1_000_000)
    .default(0)
    .describe(
      "client connections of one address (IPv6: a /64), 0 for no limit; those of `TRUST_PROXY` are not counted",
    ),
  MAX_IN_FLIGHT: integer(0, 1_000_000)
    .default(0)
    .describe("proxied requests in flight at the same time, 0 for no limit"),
  MAX_WEBSOCKETS: integer(0, 1_000_000).default(0).describe("WebSockets open at the same time, 0 for no limit"),
  PRESSURE_SAMPLE_INTERVAL: milliseconds(10).default(1_000).describe("ms between two samples of the gauges below"),
  PRESSURE_MAX_EVENT_LOOP_DELAY: number(600_000)
    .default(250)
    .describe(
      "mean event-loop delay of an interval, ms, above which requests to `/proxy` are refused; 0 turns this off",
    ),
  PRESSURE_MAX_HEAP_USED_BYTES: integer(0, Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("bytes of heap in use above which requests to `/proxy` are refused; 0 turns this off"),
  PRESSURE_MAX_RSS_BYTES: integer(0, Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("bytes of resident memory above which requests to `/proxy` are refused; 0 turns this off"),
  PRESSURE_MAX_EVENT_LOOP_UTILIZATION: number(1)
    .default(0)
    .describe(
      "share of time in which the event loop is busy, above which requests to `/proxy` are refused; 0 turns this off",
    ),
  PRESSURE_RETRY_AFTER: integer(1, 86_400)
    .default(10)
    .describe("s in the `Retry-After` of requests refused for these gauges"),
  KEEP_ALIVE_TIMEOUT: milliseconds(1).default(75_000).describe("ms after which an idle client connection is closed"),
  HEADERS_TIMEOUT: milliseconds(1).default(60_000).describe("ms within which the whole head of a request must arrive"),
  SEND_TIMEOUT: milliseconds(1)
    .default(300_000)
    .describe(
      "ms for which a client, or the upstream of a WebSocket, may read none of the data that is waiting for it",
    ),
  MIDDLEWARE_PATH: text("a path")
    .optional()
    .describe("JavaScript module with user hooks, which see and change proxied requests (docs/hooks.md)")
    .meta({ default: "none: no hooks" }),
  WATCH_CONFIG: flag()
    .default(false)
    .describe("reload when the services file, an env file or the module of `MIDDLEWARE_PATH` changes"),
  LOG_LEVEL: choice("trace", "debug", "info", "warn", "error", "fatal", "silent")
    .default("info")
    .describe(
      "lowest level that is logged; `debug` also logs each step and attempt, `trace` also names of headers; `LOGGING_LEVEL` is an alias",
    ),
  LOGGING_ENABLED: flag().default(true).describe("`false` logs nothing"),
  LOG_FORMAT: choice("json", "pretty")
    .optional()
    .describe("format of the log")
    .meta({ default: "pretty on a terminal, else json" }),
  ACCESS_LOG: flag().default(true).describe("log one line for each request"),
  SHUTDOWN_DELAY: integer(0, 600_000)
    .default(1_000)
    .describe("ms for which requests are still accepted after SIGTERM or SIGINT"),
  SHUTDOWN_TIMEOUT: integer(0, 600_000).default(10_000).describe("ms that requests in flight then have to complete"),
  SKIP_UPDATE_CHECK: flag().default(false).describe("turn the update check off"),
  UPDATE_CHECK_URL: setting("an http or https URL", (value) =>
    URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && new URL(value).username === ""
      ? value
      : undefined,
  )
    .optional()
    .describe(
      "URL of JSON with the newest `version` or `tag_name`, requested in the background at start and by `/version/check`",
    )
    .meta({ default: "none: no check" }),
});

export type Settings = z.output<typeof settingsSchema>;
export type SettingName = keyof Settings;

/** Aliases: `[alias, name]`. */
export const SETTING_ALIASES = [
  ["LOGGING_LEVEL", "LOG_LEVEL"],
  ["no_proxy", "NO_PROXY"],
] as const;

/**
 * Variables of later versions, with the values that have no effect. Any other value stops the start, so that no operator relies
 * on a protection that does not exist.
 */
export const NOT_YET: Readonly<Record<string, readonly string[]>> = {
  WORKERS: ["1"],
};
