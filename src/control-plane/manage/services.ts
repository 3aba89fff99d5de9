/** `/manage/services`: list, add, change and remove services while the gateway runs. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { GatewayError } from "../../errors.ts";
import { isObject } from "../../is-object.ts";
import { areMet } from "../../services/changes.ts";
import { CredentialCommand, CredentialState } from "../credential-schema.ts";
import { DescribedSecrets } from "../openapi/described-secrets.ts";
import { BODY_CODES, forOperators, header, json, KEY_IN_PATH, NO_STORE } from "../openapi/operations.ts";
import { NEW_SERVICE_BODY, PATCH_BODY, SERVICE_BODY, ServiceConfig } from "../openapi/service-schemas.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";
import { listInChunks } from "./list-in-chunks.ts";
import { readJson } from "./read-json.ts";

const ServiceItem = z
  .strictObject({
    key: z.string(),
    source: z
      .enum(["preset", "file", "override", "runtime"])
      .describe(
        "`preset`: built in; `file`: from the services file; `runtime`: added over REST; `override`: changed over REST (DELETE removes the change)",
      ),
    config: ServiceConfig,
    credential: z.strictObject({
      state: CredentialState,
      source: z
        .string()
        .nullable()
        .describe("the variable, `file:<path>` or `command:<program>`; several are joined by commas"),
      fingerprint: z.string().nullable(),
      command: CredentialCommand.optional().describe("where a command prints the only secret"),
      secrets: DescribedSecrets.optional(),
      withheld: z.string().optional().describe("why the secret is not used although it may be set"),
    }),
    outOfUse: z.array(z.string()).readonly().optional().describe("why the service is stored but not served"),
  })
  .openapi("ServiceItem");

const EXAMPLE: z.input<typeof ServiceItem> = {
  key: "weather",
  source: "runtime",
  config: { baseUrl: "https://api.weather.example/v2/" },
  credential: { state: "none", source: null, fingerprint: null },
};

const TAGGED = {
  ...NO_STORE,
  ETag: header("A strong ETag that differs after each change. Send it with `If-Match`."),
};
const LOCATED = { ...TAGGED, Location: header("The path of the service: `/manage/services/<key>`.") };

const PRECONDITIONS = ["If-Match", "If-None-Match"].map((name) => ({ $ref: `#/components/parameters/${name}` }));
/** Services in one chunk of a long list. A service may have 100 kB. */
const CHUNK_SERVICES = 100;

const ONE = { path: "/services/{key}" as const, parameters: [KEY_IN_PATH] };
const CHANGED_ONE = { ...ONE, parameters: [KEY_IN_PATH, ...PRECONDITIONS] };
const MASKED_HEADERS = "Header values that may be secret are shown as `***`. Send `***` to keep a value unchanged.";

const listAll = createRoute({
  method: "get",
  path: "/services",
  operationId: "listManagedServices",
  summary: "List the services",
  description: MASKED_HEADERS,
  ...forOperators("Services"),
  responses: {
    200: json(
      "All services, including stored services that are not served.",
      z.strictObject({ services: z.array(ServiceItem), count: z.int() }),
      { services: [EXAMPLE], count: 1 },
      NO_STORE,
    ),
  },
});

const createOne = createRoute({
  method: "post",
  path: "/services",
  operationId: "createService",
  summary: "Add a service",
  description: "The service is stored on disk before the response, and the next request can use it.",
  ...forOperators("Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "DUPLICATE_ENTRY", "PRECONDITION_FAILED"),
  request: { body: NEW_SERVICE_BODY },
  responses: { 201: json("The service.", ServiceItem, EXAMPLE, LOCATED) },
});

const readOne = createRoute({
  method: "get",
  ...ONE,
  operationId: "readService",
  summary: "Get a service",
  parameters: [KEY_IN_PATH, { $ref: "#/components/parameters/If-None-Match" }],
  description: MASKED_HEADERS,
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: {
    200: json("The service.", ServiceItem, EXAMPLE, TAGGED),
    304: { description: "The service still has the ETag in `If-None-Match`.", headers: TAGGED },
  },
});

const replaceOne = createRoute({
  method: "put",
  ...CHANGED_ONE,
  operationId: "replaceService",
  summary: "Add or replace a service",
  description:
    "Overrides all members of a service that is built in or in the services file. DELETE removes the override.",
  ...forOperators("Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "PRECONDITION_FAILED"),
  request: { body: SERVICE_BODY },
  responses: {
    200: json("The service.", ServiceItem, EXAMPLE, TAGGED),
    201: json("The new service.", ServiceItem, EXAMPLE, LOCATED),
  },
});

const patchOne = createRoute({
  method: "patch",
  ...CHANGED_ONE,
  operationId: "patchService",
  summary: "Change members of a service",
  ...forOperators(
    ...(["Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "SERVICE_NOT_CONFIGURED", "PRECONDITION_FAILED"] as const),
  ),
  request: { body: PATCH_BODY },
  responses: { 200: json("The service.", ServiceItem, EXAMPLE, TAGGED) },
});

const removeOne = createRoute({
  method: "delete",
  ...CHANGED_ONE,
  operationId: "removeService",
  summary: "Remove a service",
  description: "Removes the override of a service that is built in or in the services file.",
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "READ_ONLY_SERVICE", "PRECONDITION_FAILED"),
  responses: { 204: { description: "The service or its override is removed." } },
});

export function addServiceRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { serviceChanges: changes } = parts;

  const setHeaders = (context: Context<CallerEnv>, key: string) => {
    context.header("ETag", changes.entityTag(key));
    context.header("Cache-Control", "no-store");
  };
  const conditions = ({ req }: Context<CallerEnv>) => ({
    ifMatch: req.header("If-Match"),
    ifNoneMatch: req.header("If-None-Match"),
  });

  routes.openapi(listAll, async (context) => {
    const services = await changes.list();
    context.header("Cache-Control", "no-store");
    if (services.length <= CHUNK_SERVICES) return context.json({ services, count: services.length }, 200);
    const list = listInChunks({ name: "services", items: services, show: (item) => item, chunk: CHUNK_SERVICES });
    // `never`, because a stream has no typed response.
    return context.body(list, 200, { "Content-Type": "application/json" }) as never;
  });
  routes.openapi(createOne, async (context) => {
    const { key, config } = readEntry(await readJson(context));
    const item = await changes.create(key, config, authorOf(context, parts));
    setHeaders(context, key);
    context.header("Location", `/manage/services/${key}`);
    return context.json(item, 201);
  });
  routes.openapi(readOne, (context) => {
    const item = changes.read(context.req.param("key"));
    setHeaders(context, item.key);
    const ifNoneMatch = context.req.header("If-None-Match");
    const isChanged = areMet({ ifMatch: undefined, ifNoneMatch }, changes.entityTag(item.key));
    return isChanged ? context.json(item, 200) : context.body(null, 304);
  });
  routes.openapi(replaceOne, async (context) => {
    const config = await readJson(context);
    const key = context.req.param("key");
    const { item, isNew } = await changes.replace(key, config, authorOf(context, parts), conditions(context));
    setHeaders(context, key);
    if (!isNew) return context.json(item, 200);
    context.header("Location", `/manage/services/${key}`);
    return context.json(item, 201);
  });
  routes.openapi(patchOne, async (context) => {
    const patch = await readJson(context);
    const key = context.req.param("key");
    const item = await changes.patch(key, patch, authorOf(context, parts), conditions(context));
    setHeaders(context, key);
    return context.json(item, 200);
  });
  routes.openapi(removeOne, async (context) => {
    await changes.remove(context.req.param("key"), authorOf(context, parts), conditions(context));
    return context.body(null, 204);
  });
}

/** Reads `{key, config}`. The content of `config` is checked later, with the whole service. */
function readEntry(body: unknown): { readonly key: string; readonly config: unknown } {
  const { key, config, ...others } = isObject(body) ? body : {};
  const details: Record<string, string[]> = {};
  if (typeof key !== "string")
    details.key = [`found ${key === undefined ? "nothing" : "no text"}, allowed: the service's key`];
  if (config === undefined) details.config = ["found nothing, allowed: a service"];
  for (const name of Object.keys(others)) details[name.slice(0, 64)] = ["unknown, allowed: key, config"];
  if (typeof key === "string" && Object.keys(details).length === 0) return { key, config };
  throw new GatewayError("VALIDATION_ERROR", {
    message: "The body does not have the form {key, config}.",
    extra: { details },
  });
}
