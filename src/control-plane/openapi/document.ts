/**
 * `/openapi.json`: all that the gateway serves, in OpenAPI 3.1.
 * Invariant: made of the very routes that are served, and once; it tells what there can be, not what is configured.
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { ErrorCode } from "../../errors.ts";
import { version } from "../../version.ts";
import type { ControlEnv, ControlPlane } from "../parts.ts";
import { ErrorBody, refusalsOf } from "./error-answers.ts";
import { ANYWHERE, CODES, forEveryone, header, json, KEY_FORMS, TAGS } from "./operations.ts";
import { proxyOperations } from "./proxy-operations.ts";
import { serviceSchemas } from "./service-schemas.ts";

const DESCRIPTION = `An authenticating reverse proxy. Callers ask for \`/proxy/{service}/{path}\` with the gateway's key; the
upstream's credential is put on by the gateway.

HEAD is answered wherever GET is. With \`CORS_ORIGINS\` every answer has \`Vary: Origin\`, and those to pages of a listed origin say so in
\`Access-Control-Allow-Origin\`; preflights are answered on every route.

Every refusal of the gateway's own is JSON of one form, marked by the header \`X-Proxy-Error\`. A plane without a key asks for none,
and answers programs on this machine alone. With \`MANAGEMENT_PORT\` what is tagged Callers or Proxy answers on the main listener, and
what is tagged Status, Services, Management or Documentation on the second one.`;

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

/** @param described the app that serves everybody: with a second listener no single one does. */
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

/** Puts the answers to its codes into each operation. @returns what they refer to. */
function addRefusals(paths: Readonly<Record<string, object>>): Record<string, object> {
  const defined: Record<string, object> = {};
  for (const operations of Object.values(paths)) {
    for (const operation of Object.values(operations) as Operation[]) {
      const codes = operation[CODES] ?? [];
      delete operation[CODES];
      for (const response of Object.values(operation.responses)) {
        response.headers = { "X-Proxy-Request-Id": header("As in the gateway's log."), ...response.headers };
      }
      const refusals = refusalsOf([...ANYWHERE, ...codes], (name, describe) => {
        defined[name] ??= describe();
      });
      // What says of itself why it is not well (`/up`, `/health/ready`) has no other answer of that status.
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
    "If-Match": inHeader("If-Match", "An `ETag`: the change is made only to what still has it."),
    "If-None-Match": inHeader(
      "If-None-Match",
      "`*`: the change is made only where there is nothing yet. With GET an `ETag`: 304 while it is still that.",
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
