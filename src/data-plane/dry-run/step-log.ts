/** The verdicts of the steps in the order in which they were asked, and the first refusal among them. */
import { GatewayError } from "../../errors.ts";
import type { ExplainedRefusal, ExplainedStep } from "./explanation.ts";

export class StepLog {
  readonly steps: ExplainedStep[] = [];
  refusal: ExplainedRefusal | null = null;

  /** Notes what a step says; its result, or undefined for a refusal. A step may be asked in two parts. */
  take<T>(step: string, verdict: T | GatewayError): T | undefined {
    const refusal = verdict instanceof GatewayError ? wordsOf(verdict) : undefined;
    const known = this.steps.findIndex((each) => each.step === step);
    const noted: ExplainedStep = {
      step,
      verdict: refusal === undefined ? "pass" : "refuse",
      reached: this.refusal === null,
      ...(refusal === undefined ? {} : { refusal }),
    };
    if (known === -1) this.steps.push(noted);
    else this.steps[known] = noted;
    this.refusal ??= refusal ?? null;
    return verdict instanceof GatewayError ? undefined : verdict;
  }
}

function wordsOf({ status, code, message, hint }: GatewayError): ExplainedRefusal {
  return { status, code, message, hint };
}
