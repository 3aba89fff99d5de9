/** Each recipe as it is written, through a gateway, against a stand-in that accepts only what the vendor documents. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { delimiter, join } from "node:path";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { PRESETS } from "../../src/config/presets.ts";
import { fillRecipe, type Recipe, readRecipe, recipeNames } from "../../src/config/recipes.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { defineService } from "../../src/config/services-file.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { readFrames, textFrame } from "../support/frames.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

interface Verified {
  readonly inputs?: Readonly<Record<string, string>>;
  /** Secrets that must have a certain form; the others are made up. */
  readonly values?: Readonly<Record<string, string>>;
  readonly requests: readonly VerifiedRequest[];
}

interface VerifiedRequest {
  /** What the client asks the gateway for, after /proxy/<key>/. */
  readonly path: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly upgrade?: boolean;
  /** The first message of a WebSocket; `{key}` is the caller's key. */
  readonly message?: { readonly sent: string; readonly received: string };
}

/** Written from the vendors' documentation, not from the recipes. */
const VERIFIED = JSON.parse(readFileSync(new URL("verified.json", import.meta.url), "utf8")) as Record<
  string,
  Verified
>;

const NAMES = Object.keys(VERIFIED);

const GCLOUD = "gcloud auth print-access-token";

describe("The recipes", () => {
  test("The test verifies every recipe, and the recipes cover the APIs that people use most", () => {
    expect(NAMES.toSorted()).toEqual(recipeNames());
    expect(NAMES).toEqual(expect.arrayContaining(WANTED));
    expect(WANTED).toHaveLength(42);
  });

  test.each(NAMES)("%s is a valid service, and needs exactly the variables that it names", (name) => {
    const recipe = readRecipe(name);
    const service = filled(name, recipe);
    expect(defineService(name, service, "file", false)).not.toHaveProperty("problems");
    expect(JSON.stringify(service)).not.toMatch(/\{host\}|\{region\}/);
    const named = [...JSON.stringify(service.auth).matchAll(/"(?:tokenEnvVar|usernameEnvVar|envVar)":"(\w+)"/g)];
    expect(named.map((match) => match[1]).sort()).toEqual(Object.keys(recipe.variables).sort());
    for (const input of Object.keys(recipe.inputs)) expect(recipe.service.baseUrl).toContain(`{${input}}`);
  });

  test.each(Object.keys(PRESETS).filter((key) => key !== "echo"))("The recipe %s is the built-in service", (key) => {
    expect(readRecipe(key).service).toEqual(PRESETS[key]);
  });
});

describe("The stand-in for each API", () => {
  test("accepts what each recipe sends, with the caller's key in a header or in the place of each client", async () => {
    const { ask, captured } = await start("right");
    const failed: string[] = [];
    for (const { name, request, client } of cases()) {
      const status = await ask(name, request, client === undefined ? KEY_IN_HEADER : placeOf(client.sends));
      if (status !== (request.upgrade ? 101 : 200)) failed.push(`${name}, ${client?.name ?? "any client"}: ${status}`);
    }
    expect(failed).toEqual([]);
    expect(captured()).toContain("GET ");
    // In Basic, after user names of all lengths.
    const keys = [PROXY_KEY, ...["", "a", "ab"].map(encodedPart)];
    const lines = captured().split("\r\n");
    expect(lines.filter((line) => keys.some((key) => line.includes(key)))).toEqual([]);
  }, 30_000);

  test("refuses a wrong credential of each recipe, and the gateway relays the refusal", async () => {
    const { ask } = await start("wrong");
    const accepted: string[] = [];
    for (const { name, request, client } of cases()) {
      if (client === undefined && (await ask(name, request, KEY_IN_HEADER)) !== 401) accepted.push(name);
    }
    expect(accepted).toEqual([]);
  }, 30_000);

  test("refuses the right credential of each recipe in another place", async () => {
    const { ask } = await start("right", (auth) => ({ ...misplaced(auth), required: false }));
    const accepted: string[] = [];
    for (const { name, request, client } of cases()) {
      if (client === undefined && (await ask(name, request, KEY_IN_HEADER)) !== 401) accepted.push(name);
    }
    expect(accepted).toEqual([]);
  }, 30_000);

  test("is not reached without a key, or with a wrong key in the place of a client", async () => {
    const { ask, captured } = await start("right");
    const admitted: string[] = [];
    for (const { name, request, client } of cases()) {
      const place = client === undefined ? {} : placeOf(client.sends, "not-a-key-of-the-gateway");
      // After ten guesses the address is locked out.
      if (![401, 429].includes(await ask(name, request, place))) admitted.push(`${name}, ${client?.name}`);
    }
    expect(admitted).toEqual([]);
    expect(captured()).toBe("");
  }, 30_000);
});

/** The characters that the key has in base64 after this text, without those that depend on what is around it. */
const encodedPart = (before: string) => Buffer.from(`${before}${PROXY_KEY}`).toString("base64").slice(4, -4);

/** The requests of each recipe with a key in a header, and its first request with the key in the place of each client. */
function cases() {
  return NAMES.flatMap((name) => {
    const { requests } = VERIFIED[name] as Verified;
    const generic = requests.map((request) => ({ name, request, client: undefined }));
    const [request] = requests as [VerifiedRequest];
    return [...generic, ...readRecipe(name).clients.map((client) => ({ name, request, client }))];
  });
}

interface Place {
  readonly header?: string;
  readonly query?: string;
  readonly pathPrefix?: string;
}

const KEY_IN_HEADER: Place = { header: `x-api-key: ${PROXY_KEY}` };

/** Where a client sends its key, as the recipe describes it. */
function placeOf(sends: string, key = PROXY_KEY): Place {
  const text = encoded(sends.replaceAll("{key}", key));
  if (text.startsWith("?")) return { query: text.slice(1) };
  return text.startsWith("/") ? { pathPrefix: text } : { header: text };
}

type Auth = NonNullable<ServiceInput["auth"]>;

/** The first secret of the credential, in a header that no vendor knows. */
function misplaced({ tokenEnvVar, tokenCommand, secrets = {} }: Auth): Auth {
  const variable = tokenEnvVar ?? Object.values(secrets)[0]?.envVar;
  const source = tokenCommand === undefined ? { tokenEnvVar: variable } : { tokenCommand };
  return { type: "api-key", headerName: "X-Other", ...source };
}

/**
 * A gateway with a service for each recipe, and one upstream that stands in for all APIs.
 * @param kind of its secrets. @param change of the credentials.
 */
async function start(kind: "right" | "wrong", change = (auth: Auth): Auth => auth) {
  let bytes = "";
  const server = createServer();
  server.on("connection", (socket) => socket.on("data", (chunk: Buffer) => (bytes += chunk.toString("latin1"))));
  server.on("upgrade", (req: IncomingMessage, socket: Duplex) => {
    const messages = isExpected(req) ? messagesOf(String(req.headers["x-recipe"])) : [];
    const head = isExpected(req)
      ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: realtime\r\n\r\n"
      : "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    if (messages.length === 0) return socket.end(head);
    socket.write(head);
    let received = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const [first] = readFrames(received);
      socket.end(messages.includes(String(first?.payload)) ? ACCEPTED : NOT_AUTHENTICATED);
    });
  });
  const upstream = await startUpstream((req, res) => res.writeHead(isExpected(req) ? 200 : 401).end(), server);
  const services = Object.fromEntries(
    NAMES.map((name) => {
      const { auth, ...rest } = withOrigin(filled(name, readRecipe(name)), upstream.url);
      return [name, { ...rest, auth: change(auth as Auth) }];
    }),
  );
  const secrets = NAMES.flatMap((name) => Object.entries(secretsOf(name)).map(([key, value]) => [name, key, value]));
  const env = Object.fromEntries(
    secrets.map(([, key = "", value = ""]) => [key, kind === "right" ? value : `wrong${value}`]),
  );
  const PATH = `${folderWithGcloud(kind === "right" ? GCLOUD_TOKEN : "ya29.wrong")}${delimiter}${process.env.PATH}`;
  const gateway = await startGateway({ env: { ...env, PATH, PROXY_API_KEY: PROXY_KEY }, services });
  const ask = (name: string, request: VerifiedRequest, place: Place) => send(gateway.port, name, request, place);
  return { ask, captured: () => bytes };
}

/** What a WebSocket server sends to a client that it accepts; Discord closes others with 4004. */
const ACCEPTED = Buffer.from("\x81\x08accepted", "latin1");
const NOT_AUTHENTICATED = Buffer.from([0x88, 2, 4004 >> 8, 4004 & 0xff]);

async function send(port: number, name: string, request: VerifiedRequest, place: Place): Promise<number> {
  const { path, upgrade, message } = request;
  const { header, query, pathPrefix = "" } = place;
  const withQuery = query === undefined ? path : `${path}${path.includes("?") ? "&" : "?"}${query}`;
  const lines = [
    `GET /proxy/${name}${pathPrefix}/${withQuery} HTTP/1.1`,
    "Host: localhost",
    `X-Recipe: ${name}`,
    ...(header === undefined ? [] : [header]),
    ...(upgrade
      ? [
          "Connection: Upgrade",
          "Upgrade: websocket",
          "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
      : ["Connection: close"]),
    ...(upgrade && !header?.startsWith("Sec-WebSocket-Protocol")
      ? ["Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.placeholder"]
      : []),
  ];
  const head = `${lines.join("\r\n")}\r\n\r\n`;
  if (message === undefined) return (await rawRequest(port, head, { until: /\r\n\r\n/ })).status;
  const frame = textFrame(message.sent.replace("{key}", PROXY_KEY)).toString("latin1");
  const { status, body } = await rawRequest(port, head + frame, { until: /^HTTP\/1.1 4|accepted|\x88\x02/ });
  return status === 101 && !body.includes("accepted") ? 401 : status;
}

/** The recipe is named by a header of the test's requests, because all of them go to one address. */
function isExpected(req: IncomingMessage): boolean {
  const name = String(req.headers["x-recipe"]);
  const secrets: Record<string, string> = { ...secretsOf(name), [GCLOUD]: GCLOUD_TOKEN };
  const fill = (text: string) => encoded(text.replace(/\{([^}]+)\}/g, (_, key: string) => secrets[key] ?? `no ${key}`));
  return (VERIFIED[name]?.requests ?? []).some(({ url, headers = {} }) => {
    const { origin } = new URL(url);
    const target = fill(url).slice(origin.length);
    return (
      req.url === target &&
      Object.entries(headers).every(([header, value]) => req.headers[header.toLowerCase()] === fill(value)) &&
      hasNoOther(req, Object.keys(headers), Object.values(secrets))
    );
  });
}

/** One of which must follow the handshake; none for other APIs. */
function messagesOf(name: string): string[] {
  const { requests = [] } = VERIFIED[name] ?? {};
  return requests.flatMap(({ message }) =>
    message === undefined
      ? []
      : message.received.replace(/\{([A-Z_]+)\}/, (_, key: string) => secretsOf(name)[key] ?? ""),
  );
}

/** No secret in any other header. */
function hasNoOther(req: IncomingMessage, headers: readonly string[], secrets: readonly string[]): boolean {
  const expected = headers.map((header) => header.toLowerCase());
  const others = Object.entries(req.headers).filter(([header]) => !expected.includes(header));
  return !others.some(([, value]) => secrets.some((secret) => String(value).includes(secret)));
}

/** `base64(a:b)` in its encoded form. */
const encoded = (text: string) =>
  text.replace(/base64\(([^)]*)\)/, (_, pair: string) => Buffer.from(pair).toString("base64"));

/** Each variable has one value, also if several recipes name it. */
function secretsOf(name: string): Record<string, string> {
  const made = Object.keys(readRecipe(name).variables).map((variable) => [variable, `${variable}-f81d4fae7dec`]);
  return { ...Object.fromEntries(made), ...VERIFIED[name]?.values };
}

const GCLOUD_TOKEN = "ya29.a0-f81d4fae7dec";

/** A folder for PATH, with a `gcloud` that prints a token. */
function folderWithGcloud(token: string): string {
  const folder = tempFolder();
  writeFileSync(join(folder, "gcloud"), `#!/bin/sh\n[ "$*" = "auth print-access-token" ] && echo "${token}"\n`);
  chmodSync(join(folder, "gcloud"), 0o755);
  return folder;
}

function filled(name: string, recipe: Recipe): ServiceInput {
  const inputs = new Map(Object.entries(VERIFIED[name]?.inputs ?? {}));
  const result = fillRecipe(recipe, { inputs });
  if ("problems" in result) throw new Error(`${name}: ${result.problems.join("; ")}`);
  const { origin } = new URL(VERIFIED[name]?.requests[0]?.url ?? "");
  expect([name, new URL(result.service.baseUrl).origin]).toEqual([name, origin.replace(/\{.*/, "")]);
  return result.service;
}

function withOrigin(service: ServiceInput, origin: string): ServiceInput {
  const moved = (url: string) => `${origin}${new URL(url).pathname}`;
  const versions = Object.entries(service.versionedBaseUrls ?? {}).map(([version, url]) => [version, moved(url)]);
  return { ...service, baseUrl: moved(service.baseUrl), versionedBaseUrls: Object.fromEntries(versions) };
}

const WANTED = [
  ...["github", "gitlab", "discord", "telegram", "slack", "openai", "azure-openai", "anthropic", "gemini", "vertex"],
  ...["bedrock", "mistral", "groq", "openrouter", "huggingface", "deepgram", "elevenlabs", "stripe", "twilio"],
  ...["sendgrid", "mailgun", "notion", "airtable", "linear", "jira", "trello", "shopify", "cloudflare", "datadog"],
  ...["sentry", "pagerduty", "algolia", "supabase", "home-assistant", "openweather", "google-maps", "etherscan"],
  ...["tmdb", "npm", "docker-hub", "pypi", "splunk"],
];
