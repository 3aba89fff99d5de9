/** Checks whether this is the newest version, if the operator has set UPDATE_CHECK_URL. */
import { type Check, conclude } from "./check.ts";

const FINDINGS = {
  old: { status: "warn", symptom: "an old version is running", fix: "Update to the version in evidence.latest." },
  unknown: {
    status: "warn",
    symptom: "the newest version is not known",
    fix: "Check UPDATE_CHECK_URL and that this machine can reach it, or set SKIP_UPDATE_CHECK=true. The gateway works without it.",
  },
} as const;

export const update: Check = {
  id: "update",
  needs: "configuration",
  inspects: "UPDATE_CHECK_URL, if it is set",
  findings: FINDINGS,
  async run({ config, checkForUpdate }) {
    const { SKIP_UPDATE_CHECK, UPDATE_CHECK_URL } = config.settings;
    const status = await checkForUpdate();
    const { current, latest, updateAvailable, reason } = status;
    if (SKIP_UPDATE_CHECK || UPDATE_CHECK_URL === undefined) {
      return conclude([], `not checked: ${reason}`, { ...status });
    }
    if (latest === null) {
      const message = reason ?? "the newest version is not known";
      return conclude([{ finding: FINDINGS.unknown, message }], "", { ...status });
    }
    const old = { finding: FINDINGS.old, message: `this is ${current}; ${latest} is available` };
    return conclude(updateAvailable === true ? [old] : [], `this is ${current}, the newest version`, { ...status });
  },
};
