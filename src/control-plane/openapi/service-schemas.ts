/**
 * The schemas of a service in the document.
 * Invariant: they are generated from the schema of the services file, so that no rule is written down twice.
 */
import { z } from "@hono/zod-openapi";
import { type JsonSchema, servicesFileJsonSchema } from "../../config/json-schema.ts";

const SERVICE = { $ref: "#/components/schemas/Service" };

/** A service in a response. */
export const ServiceConfig = z.record(z.string(), z.unknown()).openapi(SERVICE);

/** Request bodies of changes. They are for the document only: the services code reads and checks the bodies. */
const EXAMPLE = { baseUrl: "https://api.weather.example/v2/", rateLimit: { maxRequests: 60, windowMs: 60_000 } };
export const SERVICE_BODY = { required: true, content: { "application/json": { schema: SERVICE, example: EXAMPLE } } };
const PATCH = { schema: { $ref: "#/components/schemas/ServicePatch" }, example: { timeoutMs: 5000, rateLimit: null } };
export const PATCH_BODY = {
  required: true,
  content: { "application/merge-patch+json": PATCH, "application/json": PATCH },
};
export const NEW_SERVICE_BODY = {
  required: true,
  content: {
    "application/json": {
      schema: { $ref: "#/components/schemas/NewService" },
      example: { key: "weather", config: EXAMPLE },
    },
  },
};

/** The schemas that the references above point to, and the schema of a service's key. */
export function serviceSchemas() {
  const { services } = servicesFileJsonSchema().properties as { readonly services: ServicesSchema };
  const key = services.propertyNames;
  const service = withoutOwnKeywords(services.additionalProperties) as JsonSchema;
  return {
    key,
    schemas: {
      Service: { description: "One service, as in the services file.", ...service },
      NewService: {
        type: "object",
        additionalProperties: false,
        required: ["key", "config"],
        properties: { key, config: SERVICE },
      },
      ServicePatch: {
        description:
          "A merge patch of a service (RFC 7396): `null` removes a member, and members that are not listed stay unchanged.",
        type: "object",
        propertyNames: { enum: Object.keys(service.properties ?? {}) },
      },
    },
  };
}

interface ServicesSchema {
  readonly propertyNames: { readonly type: "string"; readonly pattern: string };
  readonly additionalProperties: JsonSchema;
}

/** Removes `allowed`, which is not a keyword of JSON Schema. */
function withoutOwnKeywords(schema: JsonSchema): unknown {
  return JSON.parse(JSON.stringify(schema, (name, value) => (name === "allowed" ? undefined : value)));
}
