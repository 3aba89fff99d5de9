/**
 * What the schema allows, in words: completes "allowed: …" in problems and fills the reference pages.
 * Invariant: said by the zod schemas alone, through their JSON Schema, so that words and checks cannot part.
 */
import { z } from "zod";
import { servicesFileSchema } from "./schema.ts";

/** The part of JSON Schema that `z.toJSONSchema` makes of our schemas. */
export interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  readonly description?: string;
  /** Our own word for it, given by `.meta({ allowed })`. */
  readonly allowed?: string;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** The services file as JSON Schema, from the side of who writes it. */
export function servicesFileJsonSchema(): JsonSchema {
  return z.toJSONSchema(servicesFileSchema, { io: "input" }) as JsonSchema;
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

/** Of a value that may be an object or something else, the schema of the object. */
export function withMembers(schema: JsonSchema): JsonSchema {
  return schema.anyOf?.find(({ type }) => type === "object") ?? schema;
}

/** The names that an object of this schema may have; none for one with free names. */
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
      return "a text";
  }
}

function listOf(items: JsonSchema | undefined): string {
  if (items === undefined) return "a list";
  return items.enum === undefined ? `a list, each ${allowedValues(items)}` : `a list of ${items.enum.join(", ")}`;
}

function range({ minimum, maximum }: JsonSchema): string {
  // zod writes the safe integers as bounds where we gave none.
  const hasMaximum = maximum !== undefined && maximum !== Number.MAX_SAFE_INTEGER;
  if (minimum === undefined) return hasMaximum ? ` up to ${maximum}` : "";
  return hasMaximum ? ` from ${minimum} to ${maximum}` : ` from ${minimum}`;
}
