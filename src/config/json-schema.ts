/**
 * The services file as JSON Schema: for editors, for the reference pages, and for "allowed: …" in problems.
 * Invariant: everything comes from the zod schemas, so that descriptions and checks cannot differ.
 */
import { z } from "zod";
import { servicesFileSchema } from "./schema.ts";

/** The part of JSON Schema that `z.toJSONSchema` generates for our schemas. */
export interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  readonly description?: string;
  /** Our own description of the allowed values, from `.meta({ allowed })`. */
  readonly allowed?: string;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** The schema of the file before defaults are filled in. */
export function servicesFileJsonSchema(): JsonSchema {
  return z.toJSONSchema(servicesFileSchema, { io: "input" }) as JsonSchema;
}

/**
 * The schema for editors, which `byteproxy init` writes beside the services file. `baseUrl` is optional in it, because an entry
 * that changes a built-in service has none.
 */
export function servicesFileEditorSchema(): string {
  const adapt = (name: string, value: unknown) => {
    if (name === "allowed") return undefined;
    if (name !== "required" || !Array.isArray(value)) return value;
    const required = value.filter((member) => member !== "baseUrl");
    return required.length > 0 ? required : undefined;
  };
  return `${JSON.stringify(servicesFileJsonSchema(), adapt, 2)}\n`;
}

/** The schema of the value at this path. */
export function schemaAt(root: JsonSchema, path: readonly PropertyKey[]): JsonSchema | undefined {
  let schema: JsonSchema | undefined = root;
  for (const segment of path) schema = schema && schemaOfMember(schema, segment);
  return schema;
}

function schemaOfMember(schema: JsonSchema, segment: PropertyKey): JsonSchema | undefined {
  if (typeof segment === "number") return schema.items;
  const { properties = {}, additionalProperties } = withMembers(schema);
  if (Object.hasOwn(properties, segment)) return properties[String(segment)];
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

/** The schema of the object, for a value that may also have another type. */
export function withMembers(schema: JsonSchema): JsonSchema {
  return schema.anyOf?.find(({ type }) => type === "object") ?? schema;
}

/** The member names that the schema allows; none for an object with free names. */
export function knownNames(schema: JsonSchema | undefined): readonly string[] {
  return Object.keys((schema && withMembers(schema))?.properties ?? {});
}

export function allowedValues(schema: JsonSchema): string {
  if (schema.allowed !== undefined) return schema.allowed;
  if (schema.const !== undefined) return String(schema.const);
  if (schema.enum !== undefined) return schema.enum.join(", ");
  if (schema.anyOf !== undefined) return schema.anyOf.map(allowedValues).join(" or ");
  switch (schema.type) {
    case "integer":
    case "number":
      return `an integer${range(schema)}`;
    case "boolean":
      return "true or false";
    case "array":
      return listOf(schema.items);
    case "object":
      return "an object";
    default:
      return "a string";
  }
}

function listOf(items: JsonSchema | undefined): string {
  if (items === undefined) return "a list";
  return items.enum === undefined ? `a list, each ${allowedValues(items)}` : `a list of ${items.enum.join(", ")}`;
}

function range({ minimum, maximum }: JsonSchema): string {
  // zod writes the safe integers as bounds when a schema has none.
  const hasMaximum = maximum !== undefined && maximum !== Number.MAX_SAFE_INTEGER;
  if (minimum === undefined) return hasMaximum ? ` up to ${maximum}` : "";
  return hasMaximum ? ` from ${minimum} to ${maximum}` : ` from ${minimum}`;
}
