/** The secrets of a service that every mask must know: its credential, and what its base URLs seem to contain. */
import { secretsInBaseUrl } from "../telemetry/redact.ts";
import type { Service } from "./schema.ts";
import { withoutQuotes } from "./secret-form.ts";

/** Characters. A shorter text of a base URL would be masked where it is no secret, too. */
const LEAST_MASKED = 8;

/** The base URLs of a service, with their paths in its definition. */
export function baseUrlsOf({ baseUrl, versionedBaseUrls }: Pick<Service, "baseUrl" | "versionedBaseUrls">) {
  return [
    { path: ["baseUrl"], url: baseUrl },
    ...Object.entries(versionedBaseUrls).map(([version, url]) => ({ path: ["versionedBaseUrls", version], url })),
  ];
}

export function secretsOfService(service: Pick<Service, "baseUrl" | "versionedBaseUrls" | "credential">): string[] {
  const credential = service.credential?.secret?.reveal();
  const inUrls = baseUrlsOf(service)
    .flatMap(({ url }) => secretsInBaseUrl(url))
    .filter(({ length }) => length >= LEAST_MASKED);
  // An upstream may show a quoted secret without its quotes.
  return credential === undefined ? inUrls : [...new Set([credential, withoutQuotes(credential)]), ...inUrls];
}
