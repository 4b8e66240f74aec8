//! How often values occur in what goes into each layer of a model.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{CalibrationDataset, Calibrator, Histogram, InputStatistics, Inputs};
use crate::error::Result;
use crate::model::StreamedModel;

/// Lets a model read calibration data and counts the values that go into each linear layer of its blocks, by module path.
/// They are counted on the device and read once a block.
///
/// ```
/// use bitsmith::calib::{CalibrationDataset, MeanSquaredError, Ranges, input_histograms};
/// use bitsmith::{Device, model::StreamedModel};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70], vec![1, 80, 90, 95]])?;
/// let found = pollster::block_on(input_histograms(model, &data))?;
/// let inputs = found.iter().map(|(path, values)| (path.as_str(), values));
/// let ranges = Ranges::find(&MeanSquaredError, "w8ts-f32".parse()?, inputs);
/// assert_eq!(ranges.iter().count(), 4 * 7);
/// assert!(ranges.get("model.layers.0.mlp.down_proj").is_some());
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of reading the model, of the data and of the device.
pub async fn input_histograms(model: StreamedModel, data: &CalibrationDataset) -> Result<BTreeMap<String, Histogram>> {
    let mut calibrator = Calibrator::new(model, data, Inputs::Original)?;
    let device = calibrator.model().device().clone();
    let mut found = BTreeMap::new();
    while let Some(mut entered) = calibrator.enter().await? {
        // Layers that take the same input share what is counted of it.
        let mut observed = Vec::new();
        for linears in entered.block.linears_mut() {
            let mut shared: Option<Rc<InputStatistics>> = None;
            for linear in linears {
                if shared.is_none() {
                    let statistics = InputStatistics::new(&device, linear.shape()[1])?.with_counts(&device)?;
                    let statistics = shared.insert(Rc::new(statistics));
                    linear.set_observer(Some(statistics.clone()));
                }
                observed.extend(shared.clone().map(|statistics| (linear.path().to_owned(), statistics)));
            }
        }
        calibrator.leave(entered).await?;
        let (paths, statistics): (Vec<_>, Vec<_>) = observed.into_iter().unzip();
        found.extend(paths.into_iter().zip(InputStatistics::histograms(&device, &statistics).await?));
    }
    Ok(found)
}
