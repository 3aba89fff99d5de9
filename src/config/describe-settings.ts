/**
 * The variables in words, for the reference pages: read off the schema of the settings.
 * Invariant: no word about a setting is written here.
 */
import type { z } from "zod";
import { settingsSchema } from "./settings.ts";

export interface DescribedSetting {
  readonly name: string;
  readonly defaultText: string;
  /** The default can be written as a value; otherwise it is a description. */
  readonly isDefaultValue: boolean;
  readonly allowed: string;
  readonly meaning: string;
}

export function describeSettings(): DescribedSetting[] {
  return Object.entries(settingsSchema.shape).map(([name, schema]) => {
    const value: unknown = schema.parse(undefined);
    const isDefaultValue = value !== undefined && !(Array.isArray(value) && value.length === 0);
    const described = schema.meta()?.default;
    return {
      name,
      isDefaultValue,
      defaultText: isDefaultValue ? String(value) : typeof described === "string" ? described : "empty",
      allowed: allowedOf(schema),
      meaning: schema.description ?? "",
    };
  });
}

/** The word for what is allowed sits on the innermost schema, under `.optional()` and `.default()`. */
function allowedOf(schema: z.core.$ZodType): string {
  const allowed = (schema as z.ZodType).meta()?.allowed;
  if (typeof allowed === "string") return allowed;
  const def = schema._zod.def as { readonly innerType?: z.core.$ZodType };
  return def.innerType === undefined ? "a text" : allowedOf(def.innerType);
}
