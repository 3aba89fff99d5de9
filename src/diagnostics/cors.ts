/** Checks whether CORS_ORIGINS lacks the origin of a web page that sent requests. */
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  unlisted: {
    status: "warn",
    symptom: "the browser reports that a request was blocked by CORS policy",
    fix: "Add the origin to CORS_ORIGINS, exactly as in evidence.refusedOrigins.",
  },
  off: {
    status: "warn",
    symptom: "the browser reports that a request was blocked by CORS policy although the origin is listed",
    fix: "Set CORS_ENABLED=true.",
  },
} as const;

export const cors: Check = {
  id: "cors",
  needs: "configuration",
  inspects: "the origins of web pages that sent requests, compared with CORS_ORIGINS",
  findings: FINDINGS,
  run({ config, refusedOrigins, offline }) {
    const { CORS_ENABLED, CORS_ORIGINS } = config.settings;
    const refused = [...refusedOrigins].map(([origin, count]) => ({ origin, count }));
    const problems: Problem[] = refused.map(({ origin, count }) => {
      const finding = !CORS_ENABLED && CORS_ORIGINS.includes(origin) ? FINDINGS.off : FINDINGS.unlisted;
      return {
        finding,
        message: `a page of ${origin} sent ${plural(count, "request")} and may not read the responses`,
      };
    });
    const okSummary =
      offline === undefined
        ? "no page of an unlisted origin has sent a request"
        : "no gateway runs, so no page has sent a request";
    return conclude(problems, okSummary, {
      enabled: CORS_ENABLED,
      origins: CORS_ORIGINS,
      refusedOrigins: refused,
    });
  },
};
