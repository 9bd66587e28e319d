// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

/** Something that should hold did not. */
final class CheckFailed extends RuntimeException {
    private static final long serialVersionUID = 1L;

    CheckFailed(String message) {
        super(message);
    }
}
