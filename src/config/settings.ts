/**
 * The environment variables: name, default, what is allowed, what it means, described once.
 * Invariant: what cannot be done yet is refused at start, never ignored (NOT_YET below).
 */
import { isIP } from "node:net";
import { z } from "zod";
import { LONGEST_TIMER_MS } from "./schema.ts";
import { Secret } from "./secret.ts";

/** A variable's text turned into its value; `allowed` completes "allowed: …" when `read` finds no value. */
function setting<T>(allowed: string, read: (text: string) => T | undefined) {
  return z
    .string()
    .transform((text, refinement): T => {
      const value = read(text);
      if (value !== undefined) return value;
      refinement.addIssue({ code: "custom", message: allowed });
      return z.NEVER;
    })
    .meta({ allowed });
}

const integer = (min: number, max: number) =>
  setting(`an integer from ${min} to ${max}`, (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max ? value : undefined;
  });

const number = (max: number) =>
  setting(`a number from 0 to ${max}`, (text) => {
    const value = /^\d{1,16}(?:\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
    return value <= max ? value : undefined;
  });

const FLAGS = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);
const flag = () => setting("true or false", (text) => FLAGS.get(text.toLowerCase()));

const choice = <const T extends string>(...choices: T[]) =>
  setting(choices.join(", "), (text) => choices.find((option) => option === text.toLowerCase()));

const text = (allowed: string) => setting(allowed, (value) => value);

const splitList = (value: string) =>
  value
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
const list = (allowed: string, isAllowed: (item: string) => boolean = () => true) =>
  setting(allowed, (value) => (splitList(value).every(isAllowed) ? splitList(value) : undefined));

/** RFC 9110 section 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const milliseconds = (min: number) => integer(min, LONGEST_TIMER_MS);

/** An inbound key; the length is all that is ever said of it. */
const apiKey = (name: string) =>
  setting("at least 16 printable characters without spaces", (value) =>
    /^[\x21-\x7e]{16,}$/.test(value) ? new Secret(value) : undefined,
  )
    .optional()
    .describe(`key for ${name}, at least 16 characters`)
    .meta({ secret: true, default: "none" });

/**
 * As a browser says it: `null` for sandboxed pages and files; URL gives no origin for schemes it does not know. A `*` for a part
 * of it would match nothing, because origins are compared as a whole.
 */
const isOrigin = (value: string) =>
  value === "null" ||
  (!value.includes("*") && URL.canParse(value) && new URL(value).origin === value) ||
  /^(?!https?:)[a-z][a-z0-9+.-]*:\/\/[^/?#@\s*]+$/.test(value);
const isBaseUrl = (value: string) =>
  URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && !/[?#@]/.test(value);
const isHost = (value: string) => isIP(value) !== 0 || /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i.test(value);

/** A secret that services added over REST may name, and the origin that it may be sent to. */
export interface RestSecret {
  /** `NAME`, or `file:<path>` as it is written. */
  readonly secret: string;
  readonly origin: string;
}

const REST_SECRETS_FORM =
  "comma-separated NAME@https://host or file:<path>@https://host, none of them a key of the gateway's own";

function readRestSecret(item: string): RestSecret | undefined {
  const [, secret, origin] = /^([A-Za-z_][A-Za-z0-9_]*|file:.+)@(https?:\/\/[^*]+)$/.exec(item) ?? [];
  if (secret === undefined || origin === undefined || OWN_SECRETS.has(secret)) return undefined;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  // As a browser would write it: without the default port, in small letters.
  return url?.href === `${url?.origin}/` ? { secret, origin: url.origin } : undefined;
}

/** As strict as proxy-addr, which would otherwise throw when the gateway is put together. */
function isAddressOrCidr(value: string): boolean {
  if (/^(loopback|linklocal|uniquelocal)$/.test(value)) return true;
  const [address = "", bits = "1", ...rest] = value.split("/");
  const most = isIP(address) === 4 ? 32 : 128;
  return isIP(address) !== 0 && rest.length === 0 && /^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= most;
}

/** The variables that may come from a file instead: the same name with `_FILE`. */
export const SETTINGS_WITH_FILE = ["PROXY_API_KEY", "MANAGEMENT_API_KEY"] as const;

/** Variables that hold, or lead to, the gateway's own keys: never a credential of a service. */
export const OWN_SECRETS: ReadonlySet<string> = new Set(SETTINGS_WITH_FILE.flatMap((name) => [name, `${name}_FILE`]));

export const settingsSchema = z.object({
  PORT: integer(0, 65535).default(3420).describe("port to listen on; 0 takes a free one"),
  HOST: setting("a host name or address", (value) => (isHost(value) ? value : undefined))
    .default("127.0.0.1")
    .describe("address to listen on; the image sets `0.0.0.0`"),
  PUBLIC_URL: setting("an http or https URL without query", (value) =>
    isBaseUrl(value) ? value.replace(/\/+$/, "") : undefined,
  )
    .optional()
    .describe("base for rewritten links")
    .meta({ default: "from the request's Host" }),
  CONFIG_FILE: text("a path")
    .default("config/services.json")
    .describe("services file, JSON or YAML; named and missing is an error"),
  DATA_DIR: text("a path").default("./data").describe("folder for run-time state, made with mode 0700"),
  PROXY_API_KEY: apiKey("`/proxy/*`"),
  MANAGEMENT_API_KEY: apiKey("`/manage/*`"),
  REQUIRE_AUTH_FOR_PROXY: flag()
    .optional()
    .describe("`true` needs the key, or one that was issued; `false` opens the plane with a warning")
    .meta({ default: "on when the key is set" }),
  REQUIRE_AUTH_FOR_MANAGEMENT: flag()
    .optional()
    .describe("the same for `/manage/*`")
    .meta({ default: "on when the key is set" }),
  ALLOW_UNAUTHENTICATED: flag().default(false).describe("lets a non-loopback `HOST` start with an unprotected plane"),
  ALLOWED_HOSTS: list("comma-separated host names, or *")
    .optional()
    .describe("Host names accepted while a plane is unprotected (DNS rebinding); `*` accepts all")
    .meta({ default: "loopback names" }),
  MANAGEMENT_PORT: integer(0, 65535)
    .optional()
    .describe("second listener: `/manage`, `/docs`, `/status` and `/metrics` then answer only there; health on both")
    .meta({ default: "none" }),
  MANAGEMENT_HOST: setting("a host name or address", (value) => (isHost(value) ? value : undefined))
    .optional()
    .describe("address of the second listener")
    .meta({ default: "`HOST`" }),
  TRUST_PROXY: list("comma-separated addresses or CIDRs", isAddressOrCidr)
    .optional()
    .describe("peers whose `X-Forwarded-*` is believed")
    .meta({ default: "none" }),
  CORS_ORIGINS: list("comma-separated exact origins, or *", (item) => item === "*" || isOrigin(item))
    .prefault("")
    .describe("origins of web pages that may call and read answers (CORS); nothing is sent to others"),
  CORS_ENABLED: flag().default(true).describe("answer preflights and add CORS headers for `CORS_ORIGINS`"),
  CORS_METHODS: list("comma-separated methods", (item) => TOKEN.test(item))
    .optional()
    .describe("methods that a preflight allows")
    .meta({ default: "all of the service's" }),
  CORS_HEADERS: list("comma-separated header names", (item) => TOKEN.test(item))
    .optional()
    .describe("request headers that a preflight allows")
    .meta({ default: "what the preflight asks for" }),
  CORS_CREDENTIALS: flag()
    .default(false)
    .describe("let listed origins send cookies and HTTP authentication; never beside `*`"),
  CORS_MAX_AGE: integer(0, 31_536_000).default(86_400).describe("s that a browser may keep a preflight's answer"),
  NETWORK_TIMEOUT: milliseconds(1).default(30_000).describe("ms to the upstream's response headers, over all attempts"),
  NETWORK_CONNECT_TIMEOUT: milliseconds(1).default(5_000).describe("ms to connect to an upstream"),
  NETWORK_RETRIES: integer(0, 10).default(2).describe("retries of a replayable request"),
  STRICT_TLS: flag().default(true).describe("verify upstream certificates; `false` warns at start"),
  EGRESS_ALLOW_PRIVATE: flag()
    .optional()
    .describe("whether upstreams may be on loopback, private and other addresses that are not public")
    .meta({ default: "`true` for services from the file, `false` for those added over REST" }),
  REST_SECRETS: z
    .string()
    .transform((value, refinement): readonly RestSecret[] => {
      const read = splitList(value).map(readRestSecret);
      const bad = read.flatMap((secret, index) => (secret === undefined ? [index + 1] : []));
      if (bad.length === 0) return read as RestSecret[];
      refinement.addIssue({
        code: "custom",
        message: `${REST_SECRETS_FORM}; look at number ${bad.join(", ")} of the list`,
      });
      return z.NEVER;
    })
    .prefault("")
    .describe("secrets that services added over REST may use, each with the origin it may be sent to")
    // A slip of the pen may put the secret itself there.
    .meta({ default: "none", allowed: REST_SECRETS_FORM, secret: true }),
  ECHO_SERVICE: flag()
    .optional()
    .describe("the embedded upstream `echo`")
    .meta({ default: "on while `HOST` is loopback" }),
  MAX_CONNECTIONS: integer(1, 1_000_000).default(10_000).describe("client sockets of one listener"),
  MAX_CONNECTIONS_PER_ADDRESS: integer(0, 1_000_000)
    .default(0)
    .describe("of them, those of one address (IPv6: a /64), 0 for no cap; peers in `TRUST_PROXY` are not counted"),
  MAX_IN_FLIGHT: integer(0, 1_000_000).default(0).describe("requests proxied at the same time, 0 for no cap"),
  MAX_WEBSOCKETS: integer(0, 1_000_000).default(0).describe("WebSockets open at the same time, 0 for no cap"),
  PRESSURE_SAMPLE_INTERVAL: milliseconds(10).default(1_000).describe("ms between two looks at the gauges below"),
  PRESSURE_MAX_EVENT_LOOP_DELAY: number(600_000)
    .default(250)
    .describe("ms of event-loop delay, the mean of an interval, beyond which `/proxy` is shed; 0 is off"),
  PRESSURE_MAX_HEAP_USED_BYTES: integer(0, Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("bytes of heap in use beyond which `/proxy` is shed; 0 is off"),
  PRESSURE_MAX_RSS_BYTES: integer(0, Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("bytes of resident memory beyond which `/proxy` is shed; 0 is off"),
  PRESSURE_MAX_EVENT_LOOP_UTILIZATION: number(1)
    .default(0)
    .describe("share of time that the event loop is busy, beyond which `/proxy` is shed; 0 is off"),
  PRESSURE_RETRY_AFTER: integer(1, 86_400).default(10).describe("s in `Retry-After` of what is shed"),
  KEEP_ALIVE_TIMEOUT: milliseconds(1).default(75_000).describe("ms that an idle client connection is kept"),
  HEADERS_TIMEOUT: milliseconds(1).default(60_000).describe("ms that the head of a request may take, as a whole"),
  SEND_TIMEOUT: milliseconds(1)
    .default(300_000)
    .describe("ms that a client, or a WebSocket's upstream, may take nothing of what waits for it"),
  WATCH_CONFIG: flag().default(false).describe("reload when the services file or an env file changes"),
  LOG_LEVEL: choice("trace", "debug", "info", "warn", "error", "fatal", "silent")
    .default("info")
    .describe("least severe line to log; `LOGGING_LEVEL` is the same"),
  LOGGING_ENABLED: flag().default(true).describe("`false` logs nothing"),
  LOG_FORMAT: choice("json", "pretty")
    .optional()
    .describe("form of the log lines")
    .meta({ default: "pretty on a terminal, else json" }),
  ACCESS_LOG: flag().default(true).describe("one line a request"),
  SHUTDOWN_DELAY: integer(0, 600_000).default(1_000).describe("ms still served after SIGTERM or SIGINT"),
  SHUTDOWN_TIMEOUT: integer(0, 600_000).default(10_000).describe("ms that requests in flight then have to end"),
  SKIP_UPDATE_CHECK: flag().default(false).describe("no update check"),
  UPDATE_CHECK_URL: setting("an http or https URL", (value) =>
    URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && new URL(value).username === ""
      ? value
      : undefined,
  )
    .optional()
    .describe("JSON with the newest `version` or `tag_name`, asked in the background at start and by `/version/check`")
    .meta({ default: "none: no check" }),
});

export type Settings = z.output<typeof settingsSchema>;
export type SettingName = keyof Settings;

/** Second names: `[other name, name]`. */
export const SETTING_ALIASES = [["LOGGING_LEVEL", "LOG_LEVEL"]] as const;

/**
 * Settings of later versions: any value but the neutral ones stops the start, so that nobody
 * believes in a protection that is not there.
 */
export const NOT_YET: Readonly<Record<string, readonly string[]>> = {
  EGRESS_PROXY: [],
  TLS_CERT_FILE: [],
  TLS_KEY_FILE: [],
  TLS_CLIENT_CA_FILE: [],
  MIDDLEWARE_PATH: [],
  REDIS_URL: [],
  WORKERS: ["1"],
  JWT_ISSUER: [],
  JWT_AUDIENCE: [],
  JWT_JWKS_URL: [],
  JWT_SECRET: [],
  JWT_PERMISSIONS_CLAIM: [],
};
