/** Secrets taken out of an answer in which texts of a caller's, or of an upstream's, stand. */
import type { SecretMask } from "../telemetry/redact.ts";

/** A copy of a JSON value with every text masked. Text by text, so that no secret can break the form. */
export function maskTexts<T>(value: T, mask: SecretMask): T {
  return JSON.parse(JSON.stringify(value, (_, each) => (typeof each === "string" ? mask(each) : each)));
}
