/** Makes a running gateway apply changes: of token files and of its certificate always, of the configuration on SIGHUP or with WATCH_CONFIG. */

import type { ReloadOutcome } from "../composition/reload-outcome.ts";
import type { Config } from "../config/load-config.ts";
import { watchFiles } from "../config/watch-files.ts";
import type { Gateway } from "../gateway.ts";
import { logWarnings } from "./describe-start.ts";

/** Between two checks of a file, ms. */
const WATCH_INTERVAL_MS = 1_000;

/** Runs until the process ends. */
export function followChanges(gateway: Gateway): void {
  const tokens = watchFiles(WATCH_INTERVAL_MS, () => {
    void gateway.refreshTokens().then((outcome) => {
      if (!outcome.isDone || outcome.changed.length > 0) report(gateway, "a token file changed", outcome);
    });
  });
  followCertificate(gateway);
  const configuration = watchFiles(WATCH_INTERVAL_MS, () => follow("the configuration changed", gateway.reload()));
  const isWatched = gateway.config.settings.WATCH_CONFIG;
  const watch = () => {
    const { config } = gateway;
    tokens.setPaths(tokenFilesOf(gateway), config.readAt);
    if (isWatched) configuration.setPaths(configurationFilesOf(config), config.readAt);
  };
  const follow = (reason: string, reloading: Promise<ReloadOutcome>) => {
    void reloading.then((outcome) => report(gateway, reason, outcome));
  };
  watch();
  // After a change over REST too: it may name another token file.
  gateway.onChange(watch);
  // Closing a terminal sends SIGHUP too. There it ends the process, which is what the user expects.
  if (!process.stdout.isTTY) process.on("SIGHUP", () => follow("SIGHUP", gateway.reload()));
}

/** Its renewal is the work of another program, which writes the files: they are always watched, as token files are. */
function followCertificate({ certificate, config, logger }: Gateway): void {
  if (certificate === undefined) return;
  const { certFile, keyFile, clientCaFile } = certificate.files;
  const paths = [certFile, keyFile, ...(clientCaFile === undefined ? [] : [clientCaFile])];
  watchFiles(WATCH_INTERVAL_MS, () => certificate.refresh(logger)).setPaths(paths, config.readAt);
}

function report({ logger, audit }: Gateway, reason: string, outcome: ReloadOutcome): void {
  if (!outcome.isDone) {
    for (const problem of outcome.problems) logger.error(`${reason}, but the change was not applied: ${problem}`);
    return;
  }
  const { isDone: _, warnings, ...changes } = outcome;
  logWarnings(logger, warnings);
  logger.info(changes, `${reason}: reloaded`);
  void audit.record({ caller: reason, address: "", requestId: "" }, { action: "reload", after: changes });
}

function tokenFilesOf({ services }: Gateway): string[] {
  return services().flatMap(({ credential, signingSecret }) =>
    [credential, signingSecret].flatMap((source) =>
      [...(source?.secrets ?? []), source?.next].flatMap((secret) => secret?.path ?? []),
    ),
  );
}

function configurationFilesOf({ configFile, envFiles, settings: { MIDDLEWARE_PATH } }: Config): string[] {
  return [configFile.path, ...envFiles.map(({ path }) => path), ...(MIDDLEWARE_PATH ? [MIDDLEWARE_PATH] : [])];
}
