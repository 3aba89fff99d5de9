/** The operations on `/manage/services`, as the document tells of them; their handlers are in `services.ts`. */
import { createRoute, z } from "@hono/zod-openapi";
import { BODY_CODES, forOperators, header, json, KEY_IN_PATH, NO_STORE } from "../openapi/operations.ts";
import { NEW_SERVICE_BODY, PATCH_BODY, SERVICE_BODY, ServiceConfig } from "../openapi/service-schemas.ts";

const ServiceItem = z
  .strictObject({
    key: z.string(),
    source: z
      .enum(["preset", "file", "override", "runtime"])
      .describe("`preset`: built in; `runtime`: added over REST; `override`: changed over REST, DELETE takes it back"),
    config: ServiceConfig,
    credential: z.strictObject({
      state: z.enum(["none", "present", "missing"]),
      source: z.string().nullable().describe("the variable, or `file:<path>`"),
      fingerprint: z.string().nullable(),
      withheld: z.string().optional().describe("why a secret that may well be there is not used"),
    }),
    outOfUse: z.array(z.string()).readonly().optional().describe("why it is stored and not served"),
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
  ETag: header("Strong, and another one after each change. Send it back with `If-Match`."),
};
const LOCATED = { ...TAGGED, Location: header("Where it is now: `/manage/services/<key>`.") };

const PRECONDITIONS = ["If-Match", "If-None-Match"].map((name) => ({ $ref: `#/components/parameters/${name}` }));
const ONE = { path: "/services/{key}" as const, parameters: [KEY_IN_PATH] };
const CHANGED_ONE = { ...ONE, parameters: [KEY_IN_PATH, ...PRECONDITIONS] };
const HIDDEN = "Header values that may be secrets read `***`; sent back as `***` they stay what they are.";

export const listAll = createRoute({
  method: "get",
  path: "/services",
  operationId: "listManagedServices",
  summary: "All services",
  description: HIDDEN,
  ...forOperators("Services"),
  responses: {
    200: json(
      "What is served, and what is stored and out of use.",
      z.strictObject({ services: z.array(ServiceItem), count: z.int() }),
      { services: [EXAMPLE], count: 1 },
      NO_STORE,
    ),
  },
});

export const createOne = createRoute({
  method: "post",
  path: "/services",
  operationId: "createService",
  summary: "Adds a service",
  description: "It is on the disk before it is answered, and the very next request is served by it.",
  ...forOperators("Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "DUPLICATE_ENTRY", "PRECONDITION_FAILED"),
  request: { body: NEW_SERVICE_BODY },
  responses: { 201: json("The item.", ServiceItem, EXAMPLE, LOCATED) },
});

export const readOne = createRoute({
  method: "get",
  ...ONE,
  operationId: "readService",
  summary: "One service",
  parameters: [KEY_IN_PATH, { $ref: "#/components/parameters/If-None-Match" }],
  description: HIDDEN,
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: {
    200: json("The item.", ServiceItem, EXAMPLE, TAGGED),
    304: { description: "It is still what `If-None-Match` names.", headers: TAGGED },
  },
});

export const replaceOne = createRoute({
  method: "put",
  ...CHANGED_ONE,
  operationId: "replaceService",
  summary: "Adds a service, or replaces one",
  description: "One that is the file's or built in is overridden, as a whole, until DELETE takes that back.",
  ...forOperators("Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "PRECONDITION_FAILED"),
  request: { body: SERVICE_BODY },
  responses: {
    200: json("The item.", ServiceItem, EXAMPLE, TAGGED),
    201: json("The item, which is new.", ServiceItem, EXAMPLE, LOCATED),
  },
});

export const patchOne = createRoute({
  method: "patch",
  ...CHANGED_ONE,
  operationId: "patchService",
  summary: "Changes members of a service",
  ...forOperators(
    ...(["Services", ...BODY_CODES, "EGRESS_NOT_ALLOWED", "SERVICE_NOT_CONFIGURED", "PRECONDITION_FAILED"] as const),
  ),
  request: { body: PATCH_BODY },
  responses: { 200: json("The item.", ServiceItem, EXAMPLE, TAGGED) },
});

export const removeOne = createRoute({
  method: "delete",
  ...CHANGED_ONE,
  operationId: "removeService",
  summary: "Removes a service",
  description: "Or takes back what was changed of one that is the file's or built in.",
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "READ_ONLY_SERVICE", "PRECONDITION_FAILED"),
  responses: { 204: { description: "Done." } },
});
