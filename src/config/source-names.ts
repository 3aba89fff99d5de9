/** Members of the schema that name the source of a secret or of a file. */
import { z } from "zod";

export const variableName = z
  .string()
  .max(256)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable")
  .meta({ allowed: "the name of an environment variable" });

/** Bytes of a path: the limit of Linux. */
export const filePath = z.string().min(1).max(4_096);
