/** A key in a header or a query parameter of the upstream's choice. */
import type { AuthDefinition } from "../../config/schema.ts";
import type { Credential } from "./inject-credential.ts";

export function apiKey(secret: string, auth: AuthDefinition): Credential {
  if (auth.headerName !== undefined) return { place: "header", name: auth.headerName, value: secret };
  // The schema demands exactly one of the two places.
  return { place: "query", name: auth.queryParam as string, value: encodeURIComponent(secret) };
}
