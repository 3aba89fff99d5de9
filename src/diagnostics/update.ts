/** Whether this is the newest version, where the operator has said whom to ask. */
import { type Check, conclude } from "./check.ts";

const FINDS = {
  old: { status: "warn", symptom: "an old version is running", fix: "Update to the version in evidence.latest." },
  unknown: {
    status: "warn",
    symptom: "it is not known whether this is the newest version",
    fix: "Check UPDATE_CHECK_URL and that this machine reaches it, or set SKIP_UPDATE_CHECK=true. Nothing waits for it.",
  },
} as const;

export const update: Check = {
  id: "update",
  needs: "configuration",
  looksAt: "UPDATE_CHECK_URL, where it is set",
  finds: FINDS,
  async run({ config, checkForUpdate }) {
    const { SKIP_UPDATE_CHECK, UPDATE_CHECK_URL } = config.settings;
    const status = await checkForUpdate();
    const { current, latest, updateAvailable, reason } = status;
    if (SKIP_UPDATE_CHECK || UPDATE_CHECK_URL === undefined)
      return conclude([], `nobody is asked: ${reason}`, { ...status });
    if (latest === null)
      return conclude([{ find: FINDS.unknown, words: reason ?? "it is not known" }], "", { ...status });
    const old = { find: FINDS.old, words: `this is ${current}, and ${latest} is there` };
    return conclude(updateAvailable === true ? [old] : [], `this is ${current}, the newest`, { ...status });
  },
};
