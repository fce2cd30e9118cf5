/** What the program's exit status says. */
export const EXIT = {
  fine: 0,
  /** Something could not be done. */
  failed: 1,
  /** The command line makes no sense. */
  usage: 2,
  /** A wrong answer, or a regression. */
  verdict: 3,
} as const;
