/** What the configuration is warned of, in the log: as many lines as somebody reads, however many services there are. */
import type { Logger } from "../telemetry/logger.ts";

const LINES_LIMIT = 100;

export function tellWarnings(logger: Pick<Logger, "warn">, warnings: readonly string[]): void {
  for (const warning of warnings.slice(0, LINES_LIMIT)) logger.warn(warning);
  const more = warnings.length - LINES_LIMIT;
  if (more > 0) logger.warn(`${more} more warnings: the check config of /manage/diagnostics has them all`);
}
