/**
 * A service in the document: what the schema of the services file says, and nothing beside it.
 * Invariant: made of that schema as it is; what a change must be is never written down twice.
 */
import { z } from "@hono/zod-openapi";
import { type JsonSchema, servicesFileJsonSchema } from "../../config/allowed-values.ts";

const SERVICE = { $ref: "#/components/schemas/Service" };

/** A service inside one of our answers. */
export const ServiceConfig = z.record(z.string(), z.unknown()).openapi(SERVICE);

/** Bodies of changes. They are read and checked by our own code, so that the document alone knows of these. */
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

/** What the references above lead to, and the key's own schema. */
export function serviceSchemas() {
  const { services } = servicesFileJsonSchema().properties as { readonly services: ServicesSchema };
  const key = services.propertyNames;
  const service = withoutOwnWords(services.additionalProperties) as JsonSchema;
  return {
    key,
    schemas: {
      Service: { description: "One service, as the services file may state it.", ...service },
      NewService: {
        type: "object",
        additionalProperties: false,
        required: ["key", "config"],
        properties: { key, config: SERVICE },
      },
      ServicePatch: {
        description: "A merge patch of a service (RFC 7396): `null` takes a member away, what is not named stays.",
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

/** Without `allowed`, which is no word of JSON Schema. */
function withoutOwnWords(schema: JsonSchema): unknown {
  return JSON.parse(JSON.stringify(schema, (name, value) => (name === "allowed" ? undefined : value)));
}
