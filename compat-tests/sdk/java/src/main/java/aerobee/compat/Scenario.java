// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

/** What one scenario does; it ends normally when everything held. */
@FunctionalInterface
interface Scenario {
    void run(Context context) throws Exception;
}
