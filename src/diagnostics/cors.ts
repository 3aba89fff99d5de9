/** Whether web pages are kept out that should be let in. */

import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDS = {
  unlisted: {
    status: "warn",
    symptom: "the browser says that a request was blocked by CORS policy",
    fix: "Add the origin to CORS_ORIGINS, exactly as it stands in evidence.refusedOrigins.",
  },
  off: {
    status: "warn",
    symptom: "the browser says that a request was blocked by CORS policy, although the origin is listed",
    fix: "Set CORS_ENABLED=true.",
  },
} as const;

export const cors: Check = {
  id: "cors",
  needs: "configuration",
  looksAt: "the origins of web pages that asked, against CORS_ORIGINS",
  finds: FINDS,
  run({ config, refusedOrigins, offline }) {
    const { CORS_ENABLED, CORS_ORIGINS } = config.settings;
    const refused = [...refusedOrigins].map(([origin, count]) => ({ origin, count }));
    const problems: Problem[] = refused.map(({ origin, count }) => {
      const find = !CORS_ENABLED && CORS_ORIGINS.includes(origin) ? FINDS.off : FINDS.unlisted;
      return { find, words: `a page of ${origin} asked ${plural(count, "time")} and may not read the answers` };
    });
    const fine = offline === undefined ? "no page of an unlisted origin has asked" : "only a running gateway is asked";
    return conclude(problems, fine, {
      enabled: CORS_ENABLED,
      origins: CORS_ORIGINS,
      refusedOrigins: refused,
    });
  },
};
