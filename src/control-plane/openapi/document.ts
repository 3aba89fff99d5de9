/**
 * `/openapi.json`: all routes of the gateway, in OpenAPI 3.1.
 * Invariant: it is built once, from the served routes. It describes what is possible, not what is configured.
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { ErrorCode } from "../../error-catalog.ts";
import { version } from "../../version.ts";
import type { ControlEnv, ControlPlane } from "../parts.ts";
import { ErrorBody, refusalsOf } from "./error-responses.ts";
import { ANYWHERE, CODES, forEveryone, header, json, KEY_FORMS, TAGS } from "./operations.ts";
import { proxyOperations } from "./proxy-operations.ts";
import { serviceSchemas } from "./service-schemas.ts";

const DESCRIPTION = `An authenticating reverse proxy. Callers request \`/proxy/{service}/{path}\` with a key of the gateway. The
gateway adds the upstream's credential.

Every route that supports GET also supports HEAD. If \`CORS_ORIGINS\` is set, every response has \`Vary: Origin\`, responses to pages of
a listed origin have \`Access-Control-Allow-Origin\`, and every route responds to preflights.

Every error of the gateway itself is JSON of one form and has the header \`X-Proxy-Error\`. A plane without a key is open to programs
on this machine only. If \`MANAGEMENT_PORT\` is set, the routes tagged Callers or Proxy are on the main listener, and the routes tagged
Status, Services, Keys, Management or Documentation on the second one.`;

const route = createRoute({
  method: "get",
  path: "/openapi.json",
  operationId: "getDocument",
  summary: "This document",
  ...forEveryone("Documentation", "HOST_NOT_ALLOWED"),
  responses: {
    200: json(
      "OpenAPI 3.1.",
      z.looseObject({ openapi: z.string(), info: z.looseObject({ title: z.string(), version: z.string() }) }),
      { openapi: "3.1.0", info: { title: "ByteProxy", version: "0.1.0" } },
      { "Cache-Control": header("`no-cache`") },
    ),
  },
});

/** @param described an app with all routes: with two listeners, the app of each serves only a part. */
export function addDocumentRoute(app: ControlPlane, described: () => ControlPlane): void {
  let document: ReturnType<typeof buildDocument> | undefined;
  app.openapi(route, (context) => {
    document ??= buildDocument(described());
    context.header("Cache-Control", "no-cache");
    return context.json(document, 200);
  });
}

function buildDocument(app: OpenAPIHono<ControlEnv>) {
  const { key, schemas } = serviceSchemas();
  const registry = app.openAPIRegistry;
  for (const operation of proxyOperations()) registry.registerPath(operation);
  registry.register("Error", ErrorBody);
  for (const [name, schema] of Object.entries(schemas)) registry.registerComponent("schemas", name, schema as object);
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "ByteProxy",
      version: version.version,
      description: DESCRIPTION,
      license: { name: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
  });
  const { webhooks: _, components = {}, paths = {}, ...rest } = document;
  return {
    ...rest,
    components: {
      ...components,
      parameters: parametersOf(key),
      securitySchemes: securitySchemes(),
      responses: addRefusals(paths),
    },
    paths,
  };
}

interface Operation {
  [CODES]?: readonly ErrorCode[];
  responses: Record<string, { headers?: object; $ref?: string }>;
}

/** Adds the error responses to each operation. @returns the components that they refer to. */
function addRefusals(paths: Readonly<Record<string, object>>): Record<string, object> {
  const defined: Record<string, object> = {};
  for (const operations of Object.values(paths)) {
    for (const operation of Object.values(operations) as Operation[]) {
      const codes = operation[CODES] ?? [];
      delete operation[CODES];
      for (const response of Object.values(operation.responses)) {
        response.headers = {
          "X-Proxy-Request-Id": header("The id of this request in the gateway's log."),
          ...response.headers,
        };
      }
      const refusals = refusalsOf([...ANYWHERE, ...codes], (name, describe) => {
        defined[name] ??= describe();
      });
      // A route may describe a status itself: `/up` and `/health/ready` have their own 503.
      operation.responses = { ...refusals, ...operation.responses };
    }
  }
  return defined;
}

function parametersOf(key: object): Record<string, object> {
  const inPath = (name: string) => ({
    name,
    in: "path",
    required: true,
    schema: key,
    example: "github",
    description: "The service's key.",
  });
  const inHeader = (name: string, description: string) => ({
    name,
    in: "header",
    required: false,
    schema: { type: "string" },
    description,
  });
  return {
    Service: inPath("service"),
    Key: inPath("key"),
    KeyId: { name: "id", in: "path", required: true, schema: { type: "string" }, example: "key_4fT9kQ2mXa81" },
    "If-Match": inHeader("If-Match", "An `ETag`: the change is made only if the resource still has it."),
    "If-None-Match": inHeader(
      "If-None-Match",
      "`*`: the change is made only if the resource does not exist yet. With GET, an `ETag`: the response is 304 if the resource still has it.",
    ),
  };
}

function securitySchemes(): Record<string, object> {
  const forms: Record<(typeof KEY_FORMS)[number], object> = {
    Bearer: { type: "http", scheme: "bearer" },
    Header: { type: "apiKey", in: "header", name: "x-api-key" },
    Query: { type: "apiKey", in: "query", name: "api_key" },
  };
  const schemes: Record<string, object> = {};
  for (const [plane, variable] of [
    ["proxy", "PROXY_API_KEY"],
    ["management", "MANAGEMENT_API_KEY"],
  ]) {
    for (const form of KEY_FORMS) {
      schemes[`${plane}Key${form}`] = { ...forms[form], description: `The ${plane} key: \`${variable}\`.` };
    }
  }
  return schemes;
}
