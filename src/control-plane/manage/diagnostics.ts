/** `/manage/diagnostics`: runs all checks and reports problems with evidence and fixes. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { TypedResponse } from "hono";
import type { JSONParsed } from "hono/utils/types";
import { textsMasked } from "../../telemetry/redact.ts";
import { DescribedSecrets } from "../openapi/described-secrets.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

const status = z.enum(["ok", "warn", "fail"]);
const files = z.array(z.strictObject({ path: z.string(), state: z.enum(["read", "absent"]) })).readonly();

const System = z.strictObject({
  name: z.string(),
  version: z.string(),
  commit: z.string().nullable(),
  runtime: z.string(),
  platform: z.string(),
  pid: z.int(),
  uptime: z.int().describe("seconds"),
  timestamp: z.iso.datetime(),
  cpus: z.int(),
  totalMemoryBytes: z.int(),
  rssBytes: z.int(),
  heapUsedBytes: z.int(),
  heapLimitBytes: z.int(),
  containerMemoryLimitBytes: z.int().nullable(),
  container: z.boolean(),
  dataDir: z.string().nullable().describe("null if state is in memory"),
});

const Network = z.strictObject({
  listeners: z
    .array(
      z.strictObject({
        name: z.string(),
        service: z.string().optional().describe("the service whose `port` it is"),
        address: z.string(),
        port: z.int(),
        connections: z.int(),
        limit: z.int(),
        limitPerAddress: z.int().nullable(),
      }),
    )
    .readonly(),
  publicUrl: z.string().nullable(),
  trustProxy: z.array(z.string()).nullable(),
  allowedHosts: z.array(z.string()).nullable(),
  corsOrigins: z.array(z.string()),
  strictTls: z.boolean(),
  egressAllowPrivate: z.boolean().nullable(),
  egressProxy: z.string().nullable().describe("`EGRESS_PROXY` without its credential"),
  noProxy: z.string().nullable(),
  timeoutMs: z.int(),
  connectTimeoutMs: z.int(),
  retries: z.int(),
});

const Environment = z.strictObject({
  directory: z.string().describe("the directory of the env files"),
  envFiles: files,
  configFile: z.strictObject({ path: z.string(), state: z.enum(["read", "absent", "empty", "not used"]) }),
  variables: z
    .array(z.strictObject({ name: z.string(), origin: z.enum([".env", ".env.local", "environment", "command line"]) }))
    .readonly()
    .describe("names and origins, without values"),
  settings: z
    .array(
      z.strictObject({
        name: z.string(),
        origin: z.enum([".env", ".env.local", "environment", "command line", "default"]),
        value: z
          .union([z.string(), z.number(), z.boolean(), z.array(z.string()).readonly()])
          .nullable()
          .describe("null if the setting is not set or may contain a secret"),
      }),
    )
    .readonly()
    .describe("the settings in use, including defaults"),
});

const Authentication = z.strictObject({
  tokenConfigured: z.boolean(),
  source: z
    .string()
    .nullable()
    .describe("the variable, `file:<path>` or `command:<program>`; several are joined by commas"),
  authType: z.string().nullable(),
  fingerprint: z.string().nullable(),
  secrets: DescribedSecrets.optional(),
  loadedAt: z.iso.datetime().nullable(),
  inUse: z.boolean(),
});

const Check = z.strictObject({
  id: z.string().describe("`clock`, or `reach:github` for a service"),
  status,
  summary: z.string(),
  evidence: z.record(z.string(), z.unknown()),
  fix: z.string().nullable().describe("what to do; null if there is nothing to fix"),
});

const RecentError = z.strictObject({
  time: z.iso.datetime(),
  level: z.enum(["warn", "error", "fatal"]),
  message: z.string(),
  requestId: z.string().optional(),
  service: z.string().optional(),
  status: z.int().optional().describe("the status of the upstream's response"),
  cause: z.string().optional(),
});

const Diagnosed = z
  .strictObject({
    system: System,
    network: Network,
    environment: Environment,
    authentication: z.record(z.string(), Authentication).describe("by service"),
    checks: z.array(Check).readonly(),
    recentErrors: z
      .array(RecentError)
      .readonly()
      .describe(
        "the last warnings and errors, at most 50, newest first; also those that LOG_LEVEL excludes from the log",
      ),
    summary: z.strictObject({ status, ok: z.int(), warn: z.int(), fail: z.int(), durationMs: z.int() }),
  })
  .openapi("Diagnostics");

const EXAMPLE: z.input<typeof Diagnosed> = {
  system: {
    name: "byteproxy",
    version: "0.1.0",
    commit: null,
    runtime: "node 24.21.0",
    platform: "linux x64",
    pid: 1,
    uptime: 60,
    timestamp: "2026-11-20T23:09:19.178Z",
    cpus: 2,
    totalMemoryBytes: 2_147_483_648,
    rssBytes: 94_343_168,
    heapUsedBytes: 22_273_224,
    heapLimitBytes: 1_073_741_824,
    containerMemoryLimitBytes: null,
    container: false,
    dataDir: "/data",
  },
  network: {
    listeners: [
      { name: "main", address: "127.0.0.1", port: 3420, connections: 1, limit: 10_000, limitPerAddress: null },
    ],
    publicUrl: null,
    trustProxy: null,
    allowedHosts: null,
    corsOrigins: [],
    strictTls: true,
    egressAllowPrivate: null,
    egressProxy: null,
    noProxy: null,
    timeoutMs: 30_000,
    connectTimeoutMs: 5_000,
    retries: 2,
  },
  environment: {
    directory: "/app",
    envFiles: [{ path: "/app/.env", state: "absent" }],
    configFile: { path: "/app/config/services.json", state: "read" },
    variables: [{ name: "GITHUB_TOKEN", origin: "environment" }],
    settings: [{ name: "PORT", origin: "default", value: 3420 }],
  },
  authentication: {
    github: {
      tokenConfigured: true,
      source: "GITHUB_TOKEN",
      authType: "bearer",
      fingerprint: "96a08844",
      loadedAt: "2026-11-20T23:08:19.178Z",
      inUse: true,
    },
  },
  checks: [
    {
      id: "cors",
      status: "warn",
      summary: "a page of https://app.example sent 2 requests and may not read the responses",
      evidence: { enabled: true, origins: [], refusedOrigins: [{ origin: "https://app.example", count: 2 }] },
      fix: "Add the origin to CORS_ORIGINS, exactly as in evidence.refusedOrigins.",
    },
  ],
  recentErrors: [
    {
      time: "2026-11-20T23:09:01.004Z",
      level: "warn",
      message: "github responded 401 to its credential",
      service: "github",
      status: 401,
    },
  ],
  summary: { status: "warn", ok: 0, warn: 1, fail: 0, durationMs: 25 },
};

type DiagnosticsResponse = Response & TypedResponse<JSONParsed<z.input<typeof Diagnosed>>, 200, "json">;

const route = createRoute({
  method: "get",
  path: "/diagnostics",
  operationId: "diagnose",
  summary: "Run the checks",
  description: "Runs all checks in parallel within five seconds. Each service in use gets one GET of its base URL.",
  ...forOperators("Management"),
  responses: { 200: json("The results of the checks.", Diagnosed, EXAMPLE, NO_STORE) },
});

export function addDiagnosticsRoute(routes: OpenAPIHono<CallerEnv>, { diagnose, mask }: ControlPlaneParts): void {
  routes.openapi(route, async (context) => {
    const diagnostics = await diagnose();
    context.header("Cache-Control", "no-store");
    // Masking during stringify takes half the time of making a masked copy first.
    const text = JSON.stringify(diagnostics, textsMasked(mask));
    return context.body(text, 200, { "Content-Type": "application/json" }) as unknown as DiagnosticsResponse;
  });
}
