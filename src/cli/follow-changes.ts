/** What makes a running gateway take up a change by itself: token files always, the configuration on SIGHUP or when watched. */
import type { Config } from "../config/load-config.ts";
import { watchFiles } from "../config/watch-files.ts";
import type { Gateway } from "../gateway.ts";
import type { ReloadOutcome } from "../registry/reload-outcome.ts";
import { tellWarnings } from "./tell-warnings.ts";

/** Between two looks at a file, ms. */
const WATCH_INTERVAL_MS = 1_000;

/** Goes on until the process ends. */
export function followChanges(gateway: Gateway): void {
  const tokens = watchFiles(WATCH_INTERVAL_MS, () => {
    void gateway.refreshTokens().then((outcome) => {
      if (!outcome.isDone || outcome.changed.length > 0) report(gateway, "a token file changed", outcome);
    });
  });
  const configuration = watchFiles(WATCH_INTERVAL_MS, () => follow("the configuration changed", gateway.reload()));
  const isWatched = gateway.config.settings.WATCH_CONFIG;
  const watch = () => {
    const { config } = gateway;
    tokens.setPaths(tokenFilesOf(gateway), config.readAt);
    if (isWatched) configuration.setPaths(configurationFilesOf(config), config.readAt);
  };
  const follow = (why: string, reloading: Promise<ReloadOutcome>) => {
    void reloading.then((outcome) => report(gateway, why, outcome));
  };
  watch();
  // Whoever made the change: an operator over REST may have named a token file, too.
  gateway.onChange(watch);
  // Closing a terminal sends SIGHUP too: there it ends the process, as everybody expects.
  if (!process.stdout.isTTY) process.on("SIGHUP", () => follow("SIGHUP", gateway.reload()));
}

function report({ logger, audit }: Gateway, why: string, outcome: ReloadOutcome): void {
  if (!outcome.isDone) {
    for (const problem of outcome.problems) logger.error(`${why}, and was not taken up: ${problem}`);
    return;
  }
  const { isDone: _, warnings, ...changes } = outcome;
  tellWarnings(logger, warnings);
  logger.info(changes, `${why}: reloaded`);
  void audit.record({ caller: why, address: "", requestId: "" }, { action: "reload", after: changes });
}

function tokenFilesOf({ services }: Gateway): string[] {
  return services().flatMap(({ credential }) => credential?.path ?? []);
}

function configurationFilesOf({ configFile, envFiles }: Config): string[] {
  return [configFile.path, ...envFiles.map(({ path }) => path)];
}
