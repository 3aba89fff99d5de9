/** The sections of the response besides the checks: system, network, environment and authentication. */
import { availableParallelism, totalmem } from "node:os";
import { dirname } from "node:path";
import { describeSecrets, identityOf } from "../config/credential-source.ts";
import { showSettings } from "../config/known-variables.ts";
import { version } from "../version.ts";
import { type DiagnosticsContext, isInUse } from "./check.ts";
import { variablesOf } from "./env-files.ts";

export function describeSystem({ memory, isInContainer, stateFolder }: DiagnosticsContext) {
  const { rss, heapUsed, heapLimit, limit } = memory();
  return {
    ...version,
    pid: process.pid,
    uptime: Math.round(process.uptime()),
    timestamp: new Date().toISOString(),
    cpus: availableParallelism(),
    totalMemoryBytes: totalmem(),
    rssBytes: rss,
    heapUsedBytes: heapUsed,
    heapLimitBytes: heapLimit,
    containerMemoryLimitBytes: limit,
    container: isInContainer,
    dataDir: stateFolder ?? null,
  };
}

export function describeNetwork({ config, listeners }: DiagnosticsContext) {
  const { settings } = config;
  return {
    listeners: listeners(),
    publicUrl: settings.PUBLIC_URL ?? null,
    trustProxy: settings.TRUST_PROXY ?? null,
    allowedHosts: settings.ALLOWED_HOSTS ?? null,
    corsOrigins: settings.CORS_ORIGINS,
    strictTls: settings.STRICT_TLS,
    egressAllowPrivate: settings.EGRESS_ALLOW_PRIVATE ?? null,
    egressProxy: settings.EGRESS_PROXY?.url ?? null,
    noProxy: settings.NO_PROXY ?? null,
    timeoutMs: settings.NETWORK_TIMEOUT,
    connectTimeoutMs: settings.NETWORK_CONNECT_TIMEOUT,
    retries: settings.NETWORK_RETRIES,
  };
}

/** Names and origins of variables without their values, and the settings that are not secret. */
export function describeEnvironment(context: DiagnosticsContext) {
  const { config } = context;
  return {
    directory: dirname(config.envFiles[0]?.path ?? "."),
    envFiles: config.envFiles,
    configFile: config.configFile,
    variables: variablesOf(context).known,
    settings: showSettings(config),
  };
}

/** By service. */
export function describeAuthentication({ services, fingerprint }: DiagnosticsContext) {
  return Object.fromEntries(
    services().map(({ service, credentialRefusals }) => {
      const { key, auth, credential } = service;
      const secret = identityOf(credential);
      const secrets = describeSecrets(credential, fingerprint.credential);
      const described = {
        tokenConfigured: secret !== undefined,
        source: credential?.source ?? null,
        authType: auth?.type ?? null,
        fingerprint: secret === undefined ? null : fingerprint.credential(secret),
        ...(secrets === undefined ? {} : { secrets }),
        loadedAt: secret === undefined ? null : new Date(credentialRefusals.since).toISOString(),
        inUse: isInUse(service),
      };
      return [key, described] as const;
    }),
  );
}
