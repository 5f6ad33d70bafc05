"""The settings file input.nn of n2p2 and RuNNer: which keywords are read, which have no effect on energies, and which are refused."""

import warnings
from pathlib import Path

from jaxpot.io.text import integer, read_text

Settings = dict[str, list[list[str]]]  # keyword -> the words after it, of every line with it

REPEATED = ("symfunction_short", "atom_energy", "element_nodes_short", "element_nodes_electrostatic", "fixed_gausswidth")
NEEDED = (
    "number_of_elements", "elements", "cutoff_type", "symfunction_short", "global_hidden_layers_short", "global_nodes_short", "global_activation_short",
)  # fmt: skip
SCALINGS = ("scale_symmetry_functions", "center_symmetry_functions", "scale_symmetry_functions_sigma")
NORMALISATION = ("mean_energy", "conv_energy", "conv_length")
_READ = {*REPEATED, *NEEDED, *SCALINGS, *NORMALISATION, "scale_min_short", "scale_max_short", "normalize_nodes"}
CHARGES = ("fixed_gausswidth", "screen_electrostatics", "four_pi_epsilon", "element_nodes_electrostatic")  # of the fourth generation, beside its networks
FOURTH = "nnp_generation"  # in the settings where they are of the fourth generation
_NETWORKS = tuple(f"{name}_electrostatic" for name in ("global_hidden_layers", "global_nodes", "global_activation"))
_WITHOUT_EFFECT = frozenset("initial_hardness ewald_truncation_error_method ewald_prec".split())  # likewise; sums are as exact as they are told
_OTHER_NAMES = {"symfunction": "symfunction_short"}
_LARGEST = 10**5  # of layers and nodes
_GENERATION = {"nnp_generation": ("2",), "nnp_type": ("2", "2G-HDNNP"), "nn_type": ("1", "2"), "nn_type_short": ("1",), "nnp_gen": ("2",)}
_FOURTH_GENERATION = {"nnp_generation": ("4",), "nnp_type": ("4", "4G-HDNNP")}
_TRAINING = frozenset(  # of n2p2, and without effect on a potential that has its weights
    """random_seed test_fraction epochs use_short_forces rmse_threshold rmse_threshold_energy rmse_threshold_force rmse_threshold_charge
    rmse_threshold_trials rmse_threshold_trials_energy rmse_threshold_trials_force rmse_threshold_trials_charge energy_fraction force_fraction
    charge_fraction short_energy_error_threshold short_force_error_threshold short_energy_fraction short_force_fraction use_old_weights_short
    use_old_weights_charge weights_min weights_max nguyen_widrow_weights_short nguyen_widrow_weights_charge precondition_weights
    main_error_metric write_trainpoints write_trainforces write_traincharges write_weights_epoch write_neuronstats write_trainlog
    repeated_energy_update updater_type parallel_mode jacobian_mode update_strategy selection_mode selection_mode_energy selection_mode_force
    selection_mode_charge task_batch_size_energy task_batch_size_force task_batch_size_charge gradient_type gradient_eta gradient_adam_eta
    gradient_adam_beta1 gradient_adam_beta2 gradient_adam_epsilon kalman_type kalman_epsilon kalman_eta kalman_etatau kalman_etamax kalman_q0
    kalman_qtau kalman_qmin kalman_lambda_short kalman_nue_short memorize_symfunc_results force_weight force_energy_ratio
    normalize_data_set""".split()  # the last one only says how the three numbers of the normalisation were found
)
_RUNNER = frozenset(  # of RuNNer; n2p2 passes over them too
    """analyze_composition analyze_error analyze_error_charge_step analyze_error_energy_step analyze_error_force_step biasweights_max
    biasweights_min bond_threshold calculate_final_force calculate_forces calculate_hessian calculate_stress charge_error_threshold charge_group
    charge_grouping_by_structure charge_update_scaling check_forces check_input_forces data_clustering debug_mode detailed_timing
    detailed_timing_epoch detect_saturation dynamic_force_grouping element_decoupled_forces_v2 element_decoupled_kalman enable_on_the_fly_input
    energy_threshold enforce_max_num_neighbors_atomic environment_analysis find_contradictions fitmode fitting_unit fix_weights
    fixed_short_energy_error_threshold fixed_short_force_error_threshold force_grouping_by_structure force_threshold force_update_scaling
    growth_mode initialization_only ion_forces_only joint_energy_force_update kalman_damp_charge kalman_damp_force kalman_damp_short
    kalman_lambda_charge kalman_lambda_charge_constraint kalman_nue_charge kalman_nue_charge_constraint max_energy max_force md_mode
    mix_all_points nblock noise_charge noise_energy noise_force optmode_charge optmode_short_energy optmode_short_force points_in_memory
    prepare_md print_all_deshortdw print_all_electrostatic_weights print_all_short_weights print_convergence_vector print_date_and_time
    print_force_components print_mad print_sensitivity random_number_type random_order_training read_kalman_matrices read_unformatted
    regularize_fit_param remove_atom_energies reset_kalman restrict_weights runner_mode save_kalman_matrices separate_bias_ini_short
    separate_kalman_short short_energy_group short_force_group shuffle_weights_short_atomic silent_mode steepest_descent_step_charge
    steepest_descent_step_energy_short steepest_descent_step_force_short symfunction_correlation total_charge_error_threshold
    update_single_element update_worst_charges update_worst_short_energies update_worst_short_forces use_atom_charges use_atom_energies
    use_charge_constraint use_damping use_ipi use_old_scaling use_omp_mkl use_short_nn use_systematic_weights_electrostatic
    use_systematic_weights_short weight_analysis weight_constraint weighte_constraint weightse_max weightse_min write_fit_statistics write_pdb
    write_pov write_pwscf write_symfunctions write_temporary_weights write_unformatted write_xyz
    element_activation_electrostatic element_activation_pair element_hidden_layers_electrostatic element_hidden_layers_pair
    element_nodes_electrostatic element_nodes_pair element_pairsymfunction_short element_symfunction_electrostatic enforce_totcharge ewald_alpha
    ewald_cutoff ewald_kmax ewald_prec ewald_truncation_error_method global_activation_electrostatic global_activation_pair
    global_hidden_layers_electrostatic global_hidden_layers_pair global_nodes_electrostatic global_nodes_pair global_nodes_short_pair
    global_pairsymfunction_short global_symfunction_elec global_symfunction_electrostatic global_symfunction_short_pair
    nguyen_widrow_weights_ewald pairsymfunction_short scale_max_elec scale_max_short_pair scale_min_elec scale_min_short_pair
    screen_electrostatics symfunction_electrostatic""".split()  # the last lines are of networks of charges and of pairs, which others switch on
)


def read_settings(path: Path) -> Settings:
    """Every line of a keyword that is read. Those of RuNNer that have no effect are named in one warning.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a keyword that may change energies and is not read, by name; for one that is there twice, or lacks.
    """
    if not path.exists():
        raise FileNotFoundError(f"no settings file at {path}")
    lines = [line.split("#")[0].split("!")[0].split() or [""] for line in read_text(path, "the settings of n2p2, input.nn").split("\n")]
    with_charges = any(words[:1] and words[0] in _FOURTH_GENERATION.get(key, ()) for key, *words in lines)
    read = _READ | ({*CHARGES, *_NETWORKS} if with_charges else set())
    settings: Settings = {FOURTH: []} if with_charges else {}
    passed_over: dict[str, None] = {}
    for key, *words in lines:
        key = _OTHER_NAMES.get(key, key)
        if with_charges and (key in _WITHOUT_EFFECT or (words[:1] and words[0] in _FOURTH_GENERATION.get(key, ()))):
            continue
        if key in _RUNNER and key not in read:
            passed_over[key] = None
        if not key or key in _TRAINING or (key in _RUNNER and key not in read) or (not with_charges and key in _GENERATION and words[:1] and words[0] in _GENERATION[key]):
            continue
        if key not in read:
            raise ValueError(
                f"{path}: the key {' '.join([key, *words[:1]])[:80]} is not implemented, only networks of the second and fourth generation; "
                f"if it has no effect on energies, take the line out"
            )
        if key in settings and key not in REPEATED:
            raise ValueError(f"{path}: the key {key} is given twice")
        settings.setdefault(key, []).append(words)
    missing = [key for key in (*NEEDED, *(_NETWORKS if with_charges else ())) if key not in settings]
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}")
    if passed_over:
        warnings.warn(f"{path}: keywords of RuNNer without effect on energies: {', '.join(passed_over)}", stacklevel=4)
    return settings


def words_of(settings: Settings, key: str, path: Path) -> list[str]:
    if not settings[key][0]:
        raise ValueError(f"{path}: the key {key} has no value")
    return settings[key][0]


def word_of(settings: Settings, key: str, path: Path) -> str:
    if len(found := words_of(settings, key, path)) > 1:
        raise ValueError(f"{path}: expected one value of {key}, got {' '.join(found)}")
    return found[0]


def whole_number(text: str, what: str, path: Path) -> int:
    found = integer(text, f"{path}: {what} must be a positive whole number") if text else 0
    if not 0 < found <= _LARGEST:
        raise ValueError(f"{path}: {what} must be a positive whole number up to {_LARGEST}, got {text!r}")
    return found


def by_element(lines: list[list[str]], species: tuple[str, ...], path: Path, key: str) -> dict[str, list[list[str]]]:
    """symbol -> the words after it, of every line with it."""
    out: dict[str, list[list[str]]] = {}
    for words in lines:
        symbol, *rest = words or [""]
        if symbol not in species or not rest:
            raise ValueError(f"{path}: expected one of {' '.join(species)} and values after {key}, got {' '.join(words)[:80]!r}")
        out.setdefault(symbol, []).append(rest)
    return out
