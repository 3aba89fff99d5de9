/** A service out of its definition: with the settings' defaults, absolute paths and its credential, and looked at as a whole. */
import { resolve } from "node:path";
import { type CredentialContext, readCredential } from "./credentials.ts";
import { reviewService } from "./review-service.ts";
import type { Service, Vendor } from "./schema.ts";
import type { DefinedService } from "./services-file.ts";
import type { Settings } from "./settings.ts";
import type { Findings } from "./translate-issue.ts";

export interface CompletionContext extends CredentialContext {
  readonly settings: Settings;
}

export interface CompletedService extends Findings {
  /** To be used only when there are no problems. */
  readonly service: Service;
}

export function completeService(defined: DefinedService, context: CompletionContext): CompletedService {
  const { settings, directory } = context;
  const { key, definition, source, embedded } = defined;
  const findings: Findings = { problems: [], warnings: [] };
  const tls = { ...definition.tls };
  for (const name of ["caFile", "certFile", "keyFile"] as const) {
    if (tls[name] !== undefined) tls[name] = resolve(directory, tls[name]);
  }
  const vendor = vendorOf(key, definition.baseUrl);
  const service: Service = {
    ...definition,
    tls,
    vendor,
    quota: { ...definition.quota, mode: definition.quota.mode ?? (vendor === undefined ? "observe" : "hold") },
    key,
    source,
    embedded,
    name: definition.name ?? key,
    timeoutMs: definition.timeoutMs ?? settings.NETWORK_TIMEOUT,
    connectTimeoutMs: definition.connectTimeoutMs ?? settings.NETWORK_CONNECT_TIMEOUT,
    retries: definition.retries ?? settings.NETWORK_RETRIES,
    credential: readCredential(defined, context, findings),
  };
  reviewService(service, findings);
  return { service, ...findings };
}

/** By the preset's key, so that it holds for a stand-in too, or by the host that is asked. */
function vendorOf(key: string, baseUrl: string): Vendor | undefined {
  if (key === "discord" || key === "github") return key;
  switch (new URL(baseUrl).hostname) {
    case "discord.com":
      return "discord";
    case "api.github.com":
      return "github";
    default:
      return undefined;
  }
}
