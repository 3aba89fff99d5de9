/** The walk of a dry run: it records each step's verdict and the first refusal, and continues. */
import { GatewayError } from "../../errors.ts";
import type { Walk } from "../admission.ts";
import type { ExplainedRefusal, ExplainedStep } from "./explanation.ts";

export class StepLog implements Walk<undefined> {
  readonly commits = false;
  readonly steps: ExplainedStep[] = [];
  refusal: ExplainedRefusal | null = null;

  /** A step may be admitted in two parts: the later verdict replaces the earlier one. */
  admit<T>(step: string, verdict: T | GatewayError): T | undefined {
    const refusal = verdict instanceof GatewayError ? describeRefusal(verdict) : undefined;
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

function describeRefusal({ status, code, message, hint }: GatewayError): ExplainedRefusal {
  return { status, code, message, hint };
}
